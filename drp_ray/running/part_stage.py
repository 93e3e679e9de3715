"""Runs a stage: what is pending is dealt to workers, and every part is committed in one atomic step.

A part is named, not carried: a worker asks for the name of a part (`dealing`), reads the input part, works, and commits
the output part itself. So a part is whole on storage the moment it is done, and nothing large crosses the object store.

| failure                               | where it is caught               | what results                            |
|---------------------------------------|----------------------------------|-----------------------------------------|
| a row cannot be answered              | `llm.model_worker.ModelWorker`   | an error row; its part is committed     |
| a reply is malformed                  | `llm.live_engine.LiveEngine`     | asked again, then an error row          |
| what nobody foresaw, in a row         | `llm.model_worker.ModelWorker`   | an error row; over most rows it rises   |
| an endpoint refuses (key, money)      | `llm.live_engine.LiveEngine`     | the job fails at once                   |
| the engine dies                       | `llm.live_engine.LiveEngine`     | started again; its rows are asked again |
| a row kills engines                   | `llm.model_worker.ModelWorker`   | asked alone, then an error row          |
| engines die and answer nothing        | `llm.live_engine.LiveEngine`     | after ten, the job fails                |
| a worker process or its node dies     | `crew`, which starts another     | parts not yet committed are dealt again |
| a part kills worker processes         | `dealing`                        | its stage fails and names the part      |
| a part is far behind all others       | `dealing`                        | an idle worker makes it too; one commits |
| a part's file is lost or cut short    | `parts.read_whole_manifest`      | it counts as absent and is made again   |
| an input part cannot be read          | `parts.damage_named`             | its stage fails and names the part      |
| a worker writes other rows than asked | `part_work.check_keys`           | its stage fails; nothing is written     |
| the driver is killed                  | `survey`, at the next start      | committed parts stay, the rest is run   |
| the dataset is changed meanwhile      | `dataset.check_unchanged`        | the job fails; what was made now goes   |
| an input part was replaced            | `survey`, by the footer's digest | the output part is made again           |
| two jobs at one folder                | `storage.lease`                  | the second says so and stops            |
| a stage fails where others share its workers | `dealing`                 | its parts are withdrawn, others go on   |
| a signal                              | `console.stopped_by_signals`     | exit 130 or 143; committed parts stay   |
| Ray outlives the driver               | `keeper`                         | what is left of it is ended in seconds  |
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import ray

from drp_ray.errors import BadInput, JobFailed, StageFailed
from drp_ray.running.crew import working
from drp_ray.running.part_outcomes import committed_in
from drp_ray.running.progress import Amount, Heartbeat
from drp_ray.running.stage_info import PartStage, RunOptions
from drp_ray.running.stage_run import StageRun
from drp_ray.running.survey import can_improve, is_current
from drp_ray.storage.lease import LeaseHeld, optional_leases
from drp_ray.storage.parts import Manifest, read_whole_manifest

Made = Manifest | StageFailed
"""What became of a stage: its manifest, or why it failed although others may go on."""


def run_part_stages(stages: Sequence[PartStage], options: RunOptions) -> Iterator[tuple[int, Made]]:
    """Run what is pending of stages that load the same, as one stream of parts over one crew of workers.

    Yields each stage's place and what became of it, as soon as that is known.

    Raises:
        JobFailed: those of which nothing was told cannot go on. What is done of each stage stays.
    """
    pending: dict[int, Manifest] = {}
    for number, stage in enumerate(stages):
        try:
            source = _complete_source(stage)
            manifest = read_whole_manifest(stage.info.folder)
        except StageFailed as failure:
            yield number, failure
        else:
            if manifest is not None and _is_finished(manifest, source, options):
                yield number, manifest
            else:
                pending[number] = source
    with optional_leases([stages[number].info.folder for number in pending], options.lease_ttl_s) as leases:
        runs: dict[int, StageRun] = {}
        for (number, source), check_lease in zip(pending.items(), leases, strict=True):
            if isinstance(check_lease, LeaseHeld):
                yield number, check_lease
            else:
                runs[number] = StageRun(stages[number], source, options.retry_errors, check_lease)
        yield from _run_pending(runs, options)


def _complete_source(stage: PartStage) -> Manifest:
    source = read_whole_manifest(stage.source.folder)
    if source is None or not source.is_done:
        raise StageFailed(f"{stage.info.name}: its input {stage.source.folder.uri} is not complete")
    return source


def _is_finished(manifest: Manifest, source: Manifest, options: RunOptions) -> bool:
    can_do_better = options.retry_errors and can_improve(manifest.totals)
    return is_current(manifest, {source.stage: source}) and not can_do_better


def _run_pending(runs: Mapping[int, StageRun], options: RunOptions) -> Iterator[tuple[int, Made]]:
    """Make what is pending of all stages, and finish each as soon as it has all its parts."""
    rows = sum(run.left.rows for run in runs.values())
    for run in runs.values():
        run.take_share(rows)
    unfinished = dict(runs)
    try:
        for number, made in _make(list(runs), list(runs.values()), options):
            del unfinished[number]
            yield number, made
    finally:
        for run in unfinished.values():
            _leave(run)


def _make(numbers: Sequence[int], runs: Sequence[StageRun], options: RunOptions) -> Iterator[tuple[int, Made]]:
    for number, run in zip(numbers, runs, strict=True):
        if not run.left.parts:
            yield number, _finished(run)
    for place, failure in _run_parts(runs, options):
        if failure is not None:
            _leave(runs[place])
            yield numbers[place], failure
        elif not runs[place].left.parts:
            yield numbers[place], _finished(runs[place])


def _finished(run: StageRun) -> Made:
    try:
        return run.finish()
    except StageFailed as failure:
        _leave(run)
        return failure


def _leave(run: StageRun) -> None:
    with suppress(BadInput, JobFailed):  # what ended the work is told, and not what its clean-up met
        run.leave()


def _run_parts(runs: Sequence[StageRun], options: RunOptions) -> Iterator[tuple[int, StageFailed | None]]:
    """Run the pending parts of all; yields a stage's place as each of its parts is committed, or with its failure."""
    to_do = [part for number, run in enumerate(runs) for part in run.parts_to_do(number)]
    if not to_do:
        return
    name = _told(runs)
    ray.get(options.monitor.reset.remote(name))
    total = Amount(*map(sum, zip(*(run.total for run in runs), strict=True)))
    done = Amount(*map(sum, zip(*(run.amount_done for run in runs), strict=True)))
    heartbeat = Heartbeat(options.monitor, name, options.heartbeat_s, total, done)
    with heartbeat.beating(), working([run.stage for run in runs], to_do, options) as crew:
        for outcome in crew.outcomes():
            number = int(outcome["stage"])
            try:
                runs[number].note(committed_in(outcome))
            except StageFailed as failure:
                crew.withdraw(number)
                heartbeat.withdraw(runs[number].left)
                yield number, failure
            else:
                heartbeat.part_done()
                yield number, None


def _told(runs: Sequence[StageRun]) -> str:
    """The name of the stages in progress lines and metrics."""
    [name, *others] = dict.fromkeys(run.stage.info.name for run in runs)
    return ", ".join([name, *others]) + (f" of {len(runs)} runs" if len(runs) > 1 else "")
