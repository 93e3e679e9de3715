"""Runs a step that regroups rows: a shuffle on Ray Data whose output counts as absent until its manifest is there."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import ray

from drp_ray.running.cluster import own_failures_of_tasks
from drp_ray.running.part_outcomes import committed_in
from drp_ray.running.progress import Amount, Heartbeat
from drp_ray.running.stage_info import RegroupStage, RunOptions
from drp_ray.running.survey import filled_in, is_current
from drp_ray.storage.folder import Folder
from drp_ray.storage.lease import optional_lease
from drp_ray.storage.parts import MANIFEST, Committed, Manifest, read_whole_manifest, write_manifest


def run_regroup_stage(stage: RegroupStage, options: RunOptions) -> Manifest:
    """Make the stage unless it is there and its inputs are still what it was made from.

    Raises:
        JobFailed: another job holds the folder, or the work could not go on.
    """
    inputs = {info.name: read_whole_manifest(info.folder) for info in stage.inputs}
    manifest = read_whole_manifest(stage.info.folder)
    if manifest is not None and is_current(manifest, inputs):
        return manifest
    with optional_lease(stage.info.folder, options.lease_ttl_s) as check_lease:
        stage.info.folder.delete(MANIFEST)
        began = time.monotonic()
        with own_failures_of_tasks():
            done = _make_parts(stage, options)
        check_lease()
        if stage.confirm is not None:
            stage.confirm()
        wall_s = time.monotonic() - began
        planned = Manifest(
            stage=stage.info.name,
            fingerprint=stage.info.fingerprint,
            made_from=dict(stage.info.made_from),
            inputs={name: source.content for name, source in inputs.items() if source is not None},
            parts=[part.entry for part in done.values()],
        )
        _delete_leftovers(stage.info.folder, done)
        manifest = filled_in(planned, done, wall_s)
        write_manifest(stage.info.folder, manifest)
        return manifest


def _make_parts(stage: RegroupStage, options: RunOptions) -> dict[str, Committed]:
    plan = stage.regrouping.plan(stage.info.folder)
    if plan is None:
        return {}
    ray.get(options.monitor.reset.remote(stage.info.name))
    heartbeat = Heartbeat(options.monitor, stage.info.name, options.heartbeat_s, total=None, done=Amount(0, 0))
    done = []
    with heartbeat.beating():
        for row in plan.iter_rows():
            done.append(committed_in(row))
            options.monitor.add.remote({"rows": done[-1].rows})
            heartbeat.part_done()
    return {part.name: part for part in sorted(done, key=lambda part: part.name)}


def _delete_leftovers(folder: Folder, done: dict[str, Committed]) -> None:
    """Remove the parts of an attempt that was cut short and laid out otherwise."""
    for entry in folder.entries():
        if entry.name.endswith(".parquet") and entry.name not in done:
            folder.delete(entry.name)


def placeholders(n_parts: int, columns: pa.Schema) -> ray.data.Dataset:
    """One placeholder row per part, so that empty parts are written too: the part's number, and nulls besides."""
    numbers = [{"part": number} for number in range(n_parts)]
    return ray.data.from_items(numbers, override_num_blocks=shuffle_partitions(n_parts)).map_batches(
        _with_nulls, batch_format="pyarrow", fn_kwargs={"columns": columns}
    )


def _with_nulls(batch: pa.Table, columns: pa.Schema) -> pa.Table:
    nulls = {field.name: pa.nulls(batch.num_rows, field.type) for field in columns}
    return pa.table({**nulls, "part": batch["part"].cast(pa.int32())}, schema=columns)


def in_few_tasks(
    rows: Sequence[Mapping[str, Any]], work: Callable[..., pa.Table], arguments: Mapping[str, Any]
) -> ray.data.Dataset:
    """What `work` makes of the rows, given as a table of some 32: a task costs some 50 ms of CPU whatever it does.

    What is done for a row must not depend on the rows beside it.
    """
    blocks = ray.data.from_items([dict(row) for row in rows], override_num_blocks=shuffle_partitions(len(rows)))
    return blocks.map_batches(work, batch_size=None, batch_format="pyarrow", fn_kwargs=dict(arguments))


@ray.remote(num_cpus=1)
def concatenated(*tables: pa.Table) -> pa.Table:
    """Small tables from all blocks of a dataset as one, for every task to look things up in."""
    return pa.concat_tables(tables).combine_chunks()


def shuffle_partitions(n_parts: int) -> int:
    """How many pieces a shuffle is cut into: enough for all CPUs, and some 32 parts each where there are many."""
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(n_parts, max(2 * cpus, n_parts // 32)))
