"""Runs jobs: what is left of their stages, in order, then their results."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from drp_ray.errors import BadInput, CannotWrite, JobFailed, nearest
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.budget import Ledger
from drp_ray.job.checks import prepared
from drp_ray.job.judged import judged_of
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.result import Result, report
from drp_ray.job.run_record import check_run_name, write_run
from drp_ray.job.run_scores import read_user_scores
from drp_ray.job.waves import budget_of, run_waves
from drp_ray.llm.kept import parts_without_kept
from drp_ray.running.cluster import Say
from drp_ray.running.part_stage import run_part_stage
from drp_ray.running.regrouping import run_regroup_stage
from drp_ray.running.stage_info import PartStage, RegroupStage, RunOptions
from drp_ray.running.survey import can_improve, is_current
from drp_ray.running.worker import Worker
from drp_ray.stages.scores import SCORES
from drp_ray.stages.stage import StageContext
from drp_ray.storage.local import OLD_S
from drp_ray.storage.parts import Manifest


def run(
    job: OpenedJob, say: Say, retry_errors: bool = False, use_lease: bool = True, until: str | None = None
) -> Result | None:
    """Run what is not there yet; the whole job has a result, a job that ends with the stage `until` has none.

    Raises:
        BadInput: before anything was written.
        JobFailed: what was committed stays; the same call continues.
    """
    if job.config.budget.limits:
        return _run_within_budget(job, say, retry_errors, use_lease, until)
    wanted = _stages_until(job, until)
    check_run_name(job.run_folder, job.config, job.plan)
    _make(job, wanted, say, retry_errors, use_lease)
    return result_of(job, wanted, say) if until is None else None


def _run_within_budget(job: OpenedJob, say: Say, retry_errors: bool, use_lease: bool, until: str | None) -> Result:
    """Run wave after wave; the result is that of the last one."""
    if until is not None:
        raise BadInput(f"--until {until}: a job with a budget is run as a whole; leave one of them out")

    def run_wave(wave: OpenedJob, ledger: Ledger) -> None:
        check_run_name(wave.run_folder, wave.config, wave.plan)
        ledger.write(wave.run_folder)
        say(f"Wave {len(ledger.sizes)}: {ledger.worked:,} of {ledger.of:,} users")
        _make(wave, list(wave.plan.stages), say, retry_errors, use_lease)

    last = run_waves(job, run_wave)
    return result_of(last, last.plan.stages, say)


def evaluate(job: OpenedJob, say: Say, retry_errors: bool = False, use_lease: bool = True) -> Result:
    """Add what only evaluates, and scores that are missing, to a finished run; nothing else is made again.

    Raises:
        BadInput: the run has not all of its predictions, or other settings; nothing was written.
        JobFailed: as `run`.
    """
    check_run_name(job.run_folder, job.config, job.plan)
    wanted = [name for name, stage in job.plan.definitions.items() if stage is SCORES or stage.only_evaluates]
    missing = _first_missing(job, [name for name in job.plan.stages if name not in wanted])
    if missing is not None:
        raise BadInput(f"{job.config.name}: {missing} is not complete: what is to be evaluated is made by drp-ray run")
    _make(job, wanted, say, retry_errors, use_lease)
    return result_of(job, job.plan.stages, say)


def _first_missing(job: OpenedJob, names: Sequence[str]) -> str | None:
    manifests = job.manifests()
    return next((name for name in names if not is_current(manifests[name], manifests)), None)


def _make(job: OpenedJob, wanted: Sequence[str], say: Say, retry_errors: bool, use_lease: bool) -> None:
    """Run what is not there yet of the wanted stages."""
    if _is_complete(job, wanted, retry_errors):
        say("Nothing to do: every stage is complete.")
    else:
        with prepared([job], wanted, say, retry_errors, use_lease) as options:
            _run_stages(job, wanted, say, options, _Shared())
    for note in _notes_on_kept(job, wanted):
        say(note)


def run_all(jobs: Sequence[OpenedJob], say: Say, retry_errors: bool = False, use_lease: bool = True) -> list[Result]:
    """Run several jobs one after the other on one Ray; what they share is made once.

    All are checked before the first one starts.

    Raises:
        BadInput: before anything was written.
        JobFailed: as `run`.
    """
    for job in jobs:
        if job.config.budget.limits:
            raise BadInput(f"{job.config.name}: a budget is for single runs; leave it out of a sweep")
        check_run_name(job.run_folder, job.config, job.plan)
    unfinished = [job for job in jobs if not _is_complete(job, job.plan.stages, retry_errors)]
    results: dict[str, Result] = {}
    if not unfinished:
        say("Nothing to do: every stage of every run is complete.")
    else:
        shared = _Shared()
        stages = {name for job in unfinished for name in job.plan.stages}
        with prepared(unfinished, stages, say, retry_errors, use_lease) as options:
            for job in unfinished:
                say(f"Run {job.config.name}")
                _run_stages(job, job.plan.stages, say, options, shared)
                results[job.run_folder.uri] = result_of(job, job.plan.stages, say)
    for note in dict.fromkeys(note for job in jobs for note in _notes_on_kept(job, job.plan.stages)):
        say(note)
    return [results.get(job.run_folder.uri) or result_of(job, job.plan.stages, say) for job in jobs]


def _is_complete(job: OpenedJob, names: Iterable[str], retry_errors: bool) -> bool:
    manifests = job.current_manifests(names)
    if manifests is None:
        return False
    return not (retry_errors and any(can_improve(manifest.totals) for manifest in manifests.values()))


def result_of(job: OpenedJob, names: Iterable[str], say: Say) -> Result:
    """Compute the result of stages that are there, and write it down.

    Raises:
        JobFailed: one is not there, or was not made from what its inputs hold now.
    """
    manifests = job.current_manifests(names)
    if manifests is None:
        raise JobFailed("the inputs changed while the job ran; the same command continues")
    # Also where all was there already, made for another run with the same settings.
    try:
        write_run(job.run_folder, job.config, job.plan, job.revisions)
    except CannotWrite as error:  # a finished run can be shown where nothing can be written
        say(f"Note: {error}")
    judged = judged_of(job)
    users = read_user_scores(job.plan, judged)
    return report(job.config, job.plan, job.run_folder, manifests, job.cache, users, judged, budget_of(job))


def _stages_until(job: OpenedJob, until: str | None) -> list[str]:
    names = list(job.plan.stages)
    if until is None:
        return names
    if until not in names:
        raise BadInput(f"this job has no stage {until!r}; {nearest(until, names)}")
    return names[: names.index(until) + 1]


@dataclass
class _Shared:
    """What the jobs of one process leave to the next: catalogues by dataset, and the folders that were run."""

    catalogues: dict[Dataset, Any] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def _run_stages(job: OpenedJob, names: Iterable[str], say: Say, options: RunOptions, shared: _Shared) -> None:
    job.run_folder.delete_temporary_files(older_than_s=OLD_S)
    write_run(job.run_folder, job.config, job.plan, job.revisions)
    folders = {name: info.folder for name, info in job.plan.stages.items()}
    context = StageContext(job.plan.spec, job.dataset, folders, job.cache, shared.catalogues)
    for name in names:
        uri = folders[name].uri
        is_new = uri not in shared.folders
        # Error rows of a stage that several jobs share are tried again once, not once a job.
        manifest = run_stage(job, name, context, replace(options, retry_errors=options.retry_errors and is_new))
        if is_new:
            say(_stage_line(name, manifest))
            shared.folders.add(uri)


def run_stage(job: OpenedJob, name: str, context: StageContext, options: RunOptions) -> Manifest:
    """Run what is pending of a stage."""
    stage, info = job.plan.definitions[name], job.plan.stages[name]
    inputs = [job.plan.stages[source] for source in stage.inputs(job.plan.spec)]
    confirm = partial(job.dataset.check_unchanged, job.plan.spec.dataset_identity) if stage.reads_dataset else None
    work = stage.make(context)
    if not isinstance(work, Worker):
        return run_regroup_stage(RegroupStage(info, inputs, work, confirm), options)
    if confirm is not None:
        confirm()  # the catalogue that workers look things up in is of this dataset, before a part is made with it
    resources = stage.resources(job.plan.spec)
    pool = resources.pool if resources is not None else None
    part_stage = PartStage(info, inputs[0], work, pool, stage.expected_rows, stage.rows_each(job.plan.spec), confirm)
    return run_part_stage(part_stage, options)


def _notes_on_kept(job: OpenedJob, names: Iterable[str]) -> Iterator[str]:
    """Where `runtime.keep` is set, the stages with parts that were made without it: what is done stays as it is."""
    manifests = job.current_manifests(names) if job.config.runtime.keep else None
    for name, manifest in (manifests or {}).items():
        asks_models = "prompt_tokens" in (manifest.totals or {})
        lacking = len(parts_without_kept(job.plan.stages[name].folder, manifest)) if asks_models else 0
        if lacking:
            yield f"{name}: the calls of {lacking:,} of {len(manifest.parts):,} parts were not kept (runtime.keep)"


def _stage_line(name: str, manifest: Manifest) -> str:
    totals = manifest.totals or {}
    words = [f"{name}: {int(totals['rows']):,} rows in {len(manifest.parts):,} parts"]
    if "errors" in totals:
        words.append(f"{int(totals['errors']):,} error rows")
        words.append(f"{int(totals['prompt_tokens']):,} tokens in, {int(totals['completion_tokens']):,} out")
    if "broken_control_strings" in totals:
        words.append(f"{int(totals['broken_control_strings']):,} rows of texts with control strings, which were broken")
    return ", ".join([*words, f"{manifest.wall_s:.1f} s"])
