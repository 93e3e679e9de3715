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
| a part kills worker processes         | `dealing`                        | the job fails and names the part        |
| a part is far behind all others       | `dealing`                        | an idle worker makes it too; one commits |
| a part's file is lost or cut short    | `parts.read_whole_manifest`      | it counts as absent and is made again   |
| an input part cannot be read          | `parts.damage_named`             | the job fails and names the part        |
| a worker writes other rows than asked | `part_work.check_keys`           | the job fails; nothing is written       |
| the driver is killed                  | `survey`, at the next start      | committed parts stay, the rest is run   |
| the dataset is changed meanwhile      | `dataset.check_unchanged`        | the job fails; what was made now goes   |
| an input part was replaced            | `survey`, by the footer's digest | the output part is made again           |
| two jobs at one folder                | `storage.lease`                  | the second says so and stops            |
| a signal                              | `console.stopped_by_signals`     | exit 130 or 143; committed parts stay   |
| Ray outlives the driver               | `keeper`                         | what is left of it is ended in seconds  |
"""

import time
from collections.abc import Callable, Iterator, Set
from contextlib import suppress

import ray

from drp_ray.errors import BadInput, DatasetChanged, JobFailed
from drp_ray.running.crew import working
from drp_ray.running.dealing import PartToDo
from drp_ray.running.part_outcomes import committed_in
from drp_ray.running.progress import Amount, Heartbeat
from drp_ray.running.stage_info import PartStage, RunOptions
from drp_ray.running.survey import Survey, can_improve, filled_in, is_current, survey
from drp_ray.storage.folder import Folder, impatient
from drp_ray.storage.lease import optional_lease
from drp_ray.storage.parts import (
    Committed,
    Manifest,
    PartEntry,
    is_sound,
    read_committed,
    read_whole_manifest,
    write_manifest,
)


def run_part_stage(stage: PartStage, options: RunOptions) -> Manifest:
    """Run what is pending of a stage; its manifest says that it is done when it is.

    Raises:
        JobFailed: another job holds the folder, or the work could not go on.
    """
    source = read_whole_manifest(stage.source.folder)
    if source is None or not source.is_done:
        raise JobFailed(f"{stage.info.name}: its input {stage.source.folder.uri} is not complete")
    manifest = read_whole_manifest(stage.info.folder)
    if (
        manifest is not None
        and is_current(manifest, {source.stage: source})
        and not (options.retry_errors and can_improve(manifest.totals))
    ):
        return manifest
    with optional_lease(stage.info.folder, options.lease_ttl_s) as check_lease:
        return _run_pending(stage, source, options, check_lease)


def _run_pending(stage: PartStage, source: Manifest, options: RunOptions, check_lease: Callable[[], None]) -> Manifest:
    folder = stage.info.folder
    began, earlier = time.monotonic(), read_whole_manifest(folder)
    _delete_damaged(folder, earlier)
    committed = read_committed(folder, (entry.name for entry in source.parts))
    found = survey(source, committed, stage.expected_rows, options.retry_errors)
    wall_before = earlier.wall_s if earlier is not None else 0.0
    unfinished = Manifest(
        stage=stage.info.name,
        fingerprint=stage.info.fingerprint,
        made_from=dict(stage.info.made_from),
        inputs={source.stage: source.content},
        parts=_expected_parts(stage, source),
        wall_s=wall_before,
    )
    write_manifest(folder, unfinished)
    done = dict(found.done)

    def manifest_now() -> Manifest:
        return filled_in(unfinished, done, wall_before + time.monotonic() - began)

    try:
        for part in _run_parts(stage, unfinished, found, options):
            check_lease()
            done[part.name] = part
        _confirm(stage, made=done.keys() - found.done.keys())
    except BaseException:
        with suppress(BadInput, JobFailed):  # what ended the work is told, and not what its clean-up met
            # Without totals: all parts may be there, and the dataset not confirmed.
            write_manifest(impatient(folder), manifest_now().model_copy(update={"totals": None}))
        raise
    manifest = manifest_now()
    write_manifest(folder, manifest)
    return manifest


def _delete_damaged(folder: Folder, manifest: Manifest | None) -> None:
    """Remove parts of another size than was committed, unless their rows are whole: they were made again since then."""
    for name in manifest.damage if manifest is not None else ():
        if not is_sound(folder, name):
            folder.delete(name)


def _confirm(stage: PartStage, made: Set[str]) -> None:
    """See that the dataset is what it was; parts that were made now are deleted where it is known to have changed."""
    try:
        if stage.confirm is not None:
            stage.confirm()
    except DatasetChanged:
        for name in made:
            stage.info.folder.delete(name)
        raise


def _expected_parts(stage: PartStage, source: Manifest) -> list[PartEntry]:
    return [PartEntry(name=entry.name, rows=_expected_rows(stage, entry)) for entry in source.parts]


def _expected_rows(stage: PartStage, entry: PartEntry) -> int:
    return int(entry.facts.get(stage.expected_rows, entry.rows)) * stage.rows_each


def _run_parts(stage: PartStage, expected: Manifest, found: Survey, options: RunOptions) -> Iterator[Committed]:
    """Run the pending parts; yields each as it is committed."""
    if not found.pending:
        return
    ray.get(options.monitor.reset.remote(stage.info.name))
    total = Amount(len(expected.parts), sum(part.rows for part in expected.parts))
    done = Amount(len(found.done), sum(part.rows for part in found.done.values()))
    heartbeat = Heartbeat(options.monitor, stage.info.name, options.heartbeat_s, total, done)
    with heartbeat.beating(), working(stage, parts_to_do(stage, found), options) as crew:
        for outcome in crew.outcomes():
            committed = committed_in(outcome)
            heartbeat.part_done()
            yield committed


def parts_to_do(stage: PartStage, found: Survey) -> list[PartToDo]:
    """The pending parts as they are dealt to workers."""
    return [
        PartToDo(entry.name, _expected_rows(stage, entry), found.replaced.get(entry.name, ""))
        for entry in found.pending
    ]
