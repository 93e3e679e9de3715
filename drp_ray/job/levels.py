"""Runs the stages of several jobs level by level: a stage of all jobs, then the next one.

What the jobs share is made once. Stages of one level that ask the same models are one stream of parts over one crew of
workers, with one tail in all; and where a later level asks the same models, these workers stand by until then. So a
sweep starts each model once, or once a level where models take turns.
"""

from collections.abc import Generator, Iterable, Sequence, Set
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from drp_ray.errors import BadInput, JobFailed, StageFailed
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.run_record import write_run
from drp_ray.running.cluster import Say
from drp_ray.running.crew import load_ahead
from drp_ray.running.part_stage import Made, run_part_stages
from drp_ray.running.regrouping import run_regroup_stage
from drp_ray.running.stage_info import PartStage, RegroupStage, RunOptions
from drp_ray.running.survey import can_improve
from drp_ray.running.worker import Worker
from drp_ray.stages.order import STAGES
from drp_ray.stages.stage import Resources, StageContext, base_name
from drp_ray.storage.local import OLD_S
from drp_ray.storage.parts import Manifest, read_manifest


class _StageOfJob(NamedTuple):
    """A stage of the first job that has it, and what is to be done for it."""

    job: OpenedJob
    name: str
    work: PartStage | RegroupStage


Wanted = Sequence[tuple[OpenedJob, Sequence[str]]]
"""Jobs, and the names of the stages that each of them wants."""


@dataclass
class _Going:
    """The jobs that go on, with what they want, and the failures that ended others."""

    wanted: Wanted
    say: Say
    failures: list[BadInput | JobFailed] = field(default_factory=list)

    def stop(self, folders: Set[str], failure: BadInput | JobFailed) -> None:
        """Go no further with the jobs that need one of these folders."""
        self.failures.append(failure)
        left = [(job, names) for job, names in self.wanted if not folders & _folders_of(job, names)]
        stopped = [job.config.name for job, names in self.wanted if (job, names) not in left]
        if stopped and (left or len(self.failures) > 1):  # a failure that is the only one is raised
            self.say(f"Goes no further: {', '.join(stopped)} ({failure})")
        self.wanted = left


def run_levels(wanted: Wanted, say: Say, options: RunOptions) -> BadInput | JobFailed | None:
    """Run what is pending of the wanted stages of all jobs.

    A job whose stage fails goes no further, and the others go on. What comes back is the first failure: what was
    committed stays, and the same call continues.
    """
    for job, _ in wanted:
        job.run_folder.delete_temporary_files(older_than_s=OLD_S)
        write_run(job.run_folder, job.config, job.plan, job.revisions)
    going = _Going(wanted, say)
    try:
        _run_levels(going, options)
    except BaseException:
        with suppress(Exception):  # what ended the work is told, and not what its clean-up met
            options.standby.kill()
        raise
    options.standby.dismiss()
    return going.failures[0] if going.failures else None


def _run_levels(going: _Going, options: RunOptions) -> None:
    catalogues: dict[Dataset, Any] = {}
    is_one, levels = len(going.wanted) == 1, sorted({name for _, names in going.wanted for name in names}, key=_place)
    for number, name in enumerate(levels):
        later, asked_later = levels[number + 1 :], list[Resources]()
        stages = _stages_of_level(going, name, catalogues, options)
        if any(isinstance(stage.work, PartStage) and stage.work.pool is not None for stage in stages):
            asked_later = _resources_of(going.wanted, set(later), options)
        else:
            options.standby.leave_room()
            if options.standby.is_empty:
                _load_ahead(going, later, catalogues, options)
        for group in _groups(stages):
            keep_workers = any(stage.job.plan.resources().get(name) in asked_later for stage in group)
            _run_group(group, going, is_one, replace(options, keep_workers=keep_workers))


def _run_group(group: Sequence[_StageOfJob], going: _Going, is_one: bool, options: RunOptions) -> None:
    """Run stages that share workers, and tell of each as it ends; after a failure of all nothing more ends."""
    left = dict(enumerate(group))
    try:
        with closing(_run(group, options)) as results:
            for number, made in results:
                stage = left.pop(number)
                if isinstance(made, StageFailed):
                    going.stop({_uri(stage)}, made)
                else:
                    going.say(stage_line(stage.name, made) + ("" if is_one else f" ({stage.job.config.name})"))
    except (BadInput, JobFailed) as failure:
        going.stop({_uri(stage) for stage in left.values()}, failure)


def _load_ahead(going: _Going, later: Sequence[str], catalogues: dict[Dataset, Any], options: RunOptions) -> None:
    """Let workers load what the next level with a model needs, while a level without one runs."""
    coming = ((name, job) for name in later for job, names in going.wanted if name in names)
    for name, job in ((name, job) for name, job in coming if name in job.plan.resources()):
        n_parts = _parts_to_do(job, name, options)
        if n_parts:
            with suppress(BadInput, JobFailed):  # it is told once the level begins
                work = _work(job, name, _context(job, catalogues, options))
                if isinstance(work, PartStage):
                    load_ahead(work, n_parts, options.standby)
            return


def _parts_to_do(job: OpenedJob, name: str, options: RunOptions) -> int:
    """How many parts a stage has to make, as many as there are of users where it was never begun; 0 if unknown."""
    own, users = _read_if_whole(job, name), _read_if_whole(job, "users")
    if own is None:
        return len(users.parts) if users is not None else 0
    return sum(not part.digest or (options.retry_errors and can_improve(part.facts)) for part in own.parts)


def _read_if_whole(job: OpenedJob, name: str) -> Manifest | None:
    """A stage's manifest; None where it cannot be read, which is told once its level begins."""
    try:
        return read_manifest(job.plan.stages[name].folder)
    except (BadInput, JobFailed):
        return None


def _folders_of(job: OpenedJob, names: Iterable[str]) -> set[str]:
    return {job.plan.stages[name].folder.uri for name in names}


def _uri(stage: _StageOfJob) -> str:
    return stage.job.plan.stages[stage.name].folder.uri


def run_stage(job: OpenedJob, name: str, context: StageContext, options: RunOptions) -> Manifest:
    """Run what is pending of a stage of a job."""
    [(_, made)] = _run([_StageOfJob(job, name, _work(job, name, context))], options)
    if isinstance(made, StageFailed):
        raise made
    return made


def _place(name: str) -> tuple[int, str]:
    return [stage.name for stage in STAGES].index(base_name(name)), name


def _stages_of_level(
    going: _Going, name: str, catalogues: dict[Dataset, Any], options: RunOptions
) -> list[_StageOfJob]:
    """The stages of this name, those that jobs share once; a job whose stage cannot be begun goes no further."""
    found: dict[str, _StageOfJob] = {}
    for job in [job for job, names in going.wanted if name in names]:
        uri = job.plan.stages[name].folder.uri
        if uri not in found and any(job is going_on for going_on, _ in going.wanted):
            try:
                found[uri] = _StageOfJob(job, name, _work(job, name, _context(job, catalogues, options)))
            except (BadInput, JobFailed) as failure:
                going.stop({uri}, failure)
    return list(found.values())


def _context(job: OpenedJob, catalogues: dict[Dataset, Any], options: RunOptions) -> StageContext:
    folders = {name: info.folder for name, info in job.plan.stages.items()}
    return StageContext(job.plan.spec, job.dataset, folders, job.cache, catalogues, options.standby.leave_room)


def _groups(stages: Iterable[_StageOfJob]) -> list[list[_StageOfJob]]:
    """Stages that share workers in one list, every other one in a list of its own."""
    groups: list[list[_StageOfJob]] = []
    for stage in stages:
        held = stage.work.held if isinstance(stage.work, PartStage) else None
        for group in groups if held is not None else ():
            first = group[0].work
            if isinstance(first, PartStage) and first.held == held:
                group.append(stage)
                break
        else:
            groups.append([stage])
    return groups


def _resources_of(wanted: Wanted, names: Set[str], options: RunOptions) -> list[Resources]:
    """What the stages of these names hold on the cluster, of all jobs that want them and do not have them yet."""
    return [
        resources
        for job, own_names in wanted
        for name, resources in job.plan.resources().items()
        if name in names and name in own_names and _parts_to_do(job, name, options)
    ]


def _work(job: OpenedJob, name: str, context: StageContext) -> PartStage | RegroupStage:
    stage, info = job.plan.definitions[name], job.plan.stages[name]
    inputs = [job.plan.stages[source] for source in stage.inputs(job.plan.spec)]
    confirm = partial(job.dataset.check_unchanged, job.plan.spec.dataset_identity) if stage.reads_dataset else None
    work = stage.make(context)
    if not isinstance(work, Worker):
        return RegroupStage(info, inputs, work, confirm)
    if confirm is not None:
        confirm()  # the catalogue that workers look things up in is of this dataset, before a part is made with it
    resources = stage.resources(job.plan.spec)
    pool = resources.pool if resources is not None else None
    return PartStage(info, inputs[0], work, pool, stage.expected_rows, stage.rows_each(job.plan.spec), confirm)


def _run(group: Sequence[_StageOfJob], options: RunOptions) -> Generator[tuple[int, Made]]:
    """Run stages that share workers, or one that regroups; their places and what became of them, as it is known."""
    parts = [stage.work for stage in group if isinstance(stage.work, PartStage)]
    if parts:
        yield from run_part_stages(parts, options)
        return
    options.standby.leave_room()
    for number, stage in enumerate(group):
        if isinstance(stage.work, RegroupStage):
            yield number, run_regroup_stage(stage.work, options)


def stage_line(name: str, manifest: Manifest) -> str:
    """What a stage came to, in one line."""
    totals = manifest.totals or {}
    words = [f"{name}: {int(totals['rows']):,} rows in {len(manifest.parts):,} parts"]
    if "errors" in totals:
        words.append(f"{int(totals['errors']):,} error rows")
        words.append(f"{int(totals['prompt_tokens']):,} tokens in, {int(totals['completion_tokens']):,} out")
    if "broken_control_strings" in totals:
        words.append(f"{int(totals['broken_control_strings']):,} rows of texts with control strings, which were broken")
    return ", ".join([*words, f"{manifest.wall_s:.1f} s"])
