"""Runs jobs: what is left of their stages, in order, then their results."""

from collections.abc import Iterable, Iterator, Sequence

from drp_ray.errors import BadInput, CannotWrite, JobFailed, nearest
from drp_ray.job.budget import Ledger
from drp_ray.job.checks import prepared
from drp_ray.job.judged import judged_of
from drp_ray.job.levels import run_levels
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.result import Result, report
from drp_ray.job.run_record import check_run_name, write_run
from drp_ray.job.run_scores import read_user_scores
from drp_ray.job.waves import budget_of, run_waves
from drp_ray.llm.kept import parts_without_kept
from drp_ray.running.cluster import Say
from drp_ray.running.survey import can_improve, is_current
from drp_ray.stages.scores import SCORES


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
            failure = run_levels([(job, wanted)], say, options)
            if failure is not None:
                raise failure
    for note in _notes_on_kept(job, wanted):
        say(note)


def run_all(jobs: Sequence[OpenedJob], say: Say, retry_errors: bool = False, use_lease: bool = True) -> list[Result]:
    """Run several jobs on one Ray, stage by stage for all of them; what they share is made once.

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
        stages = {name for job in unfinished for name in job.plan.stages}
        with prepared(unfinished, stages, say, retry_errors, use_lease) as options:
            failure = run_levels([(job, list(job.plan.stages)) for job in unfinished], say, options)
            for job in unfinished:
                try:
                    if failure is None or _is_complete(job, job.plan.stages, retry_errors=False):
                        say(f"Run {job.config.name}")
                        results[job.run_folder.uri] = result_of(job, job.plan.stages, say)
                except (BadInput, JobFailed) as error:
                    failure = failure or error  # the first one is told, and the other jobs have their results
            if failure is not None:
                raise failure
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


def _notes_on_kept(job: OpenedJob, names: Iterable[str]) -> Iterator[str]:
    """Where `runtime.keep` is set, the stages with parts that were made without it: what is done stays as it is."""
    manifests = job.current_manifests(names) if job.config.runtime.keep else None
    for name, manifest in (manifests or {}).items():
        asks_models = "prompt_tokens" in (manifest.totals or {})
        lacking = len(parts_without_kept(job.plan.stages[name].folder, manifest)) if asks_models else 0
        if lacking:
            yield f"{name}: the calls of {lacking:,} of {len(manifest.parts):,} parts were not kept (runtime.keep)"
