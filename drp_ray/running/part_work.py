"""Works on one part where Ray runs it: in an actor that keeps its model, or in a task."""

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from drp_ray.errors import JobFailed
from drp_ray.running.part_outcomes import committed_row, failed_part_as_row
from drp_ray.running.progress import Counts
from drp_ray.running.stage_info import PartStage
from drp_ray.running.worker import keys_of
from drp_ray.storage.parts import Committed, DamagedPart, commit_part, read_footer, read_part

COUNTS_EVERY_S = 0.5

MAX_LOST_WORKERS = 5
"""Worker processes that may die over one part before the job stops: more is no accident of the cluster."""


class PartActor:
    """A worker in an actor of Ray Data: its model loads with the first part and stays."""

    def __init__(self, stage: PartStage, retry_errors: bool, monitor: Any) -> None:
        self._stage, self._retry_errors, self._monitor = stage, retry_errors, monitor
        self._starting: asyncio.Task[None] | None = None
        self._counted: Counts = {}

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """Run the part that the batch names. The start is shared by all parts that wait for it."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        [row] = batch.to_pylist()
        with failed_part_as_row() as outcome:
            await self._starting
            committed = await run_part(self._stage, row, self._retry_errors, self._monitor)
            outcome |= committed_row(committed)
        return pa.Table.from_pylist([outcome])

    async def _start(self) -> None:
        with phase(self._monitor, "loading"):
            await self._stage.worker.start(self._count)
        # What was loaded stays until the process ends: the collector would walk it while the model works, and for
        # two seconds at the end.
        gc.freeze()

    def _count(self, **counts: float) -> None:
        """Collect counts and send them twice a second: a remote call for every row would cost more than it says."""
        if not self._counted:
            asyncio.get_running_loop().call_later(COUNTS_EVERY_S, self._send_counts)
        for name, value in counts.items():
            self._counted[name] = self._counted.get(name, 0) + value

    def _send_counts(self) -> None:
        self._monitor.add.remote(self._counted)
        self._counted = {}


def run_part_in_task(row: Mapping[str, str], stage: PartStage, retry_errors: bool, monitor: Any) -> dict[str, str]:
    """Run a part in a Ray task, with a worker of its own."""

    async def run() -> Committed:
        await stage.worker.start(lambda **counts: None)
        try:
            return await run_part(stage, row, retry_errors, monitor)
        finally:
            await stage.worker.close()

    with failed_part_as_row() as outcome:
        committed = asyncio.run(run())
        monitor.add.remote({"rows": committed.rows})
        outcome |= committed_row(committed)
    return outcome


async def run_part(stage: PartStage, row: Mapping[str, str], retry_errors: bool, monitor: Any) -> Committed:
    """Read an input part, work, check, commit.

    Ray calls again for a part whose worker or node was lost, also when the part was committed before that: what
    stands there since the survey is not made a second time.
    """
    name = row["part"]
    lost = await monitor.begin.remote(name)
    if lost >= MAX_LOST_WORKERS:
        raise JobFailed(f"{stage.info.name}: {lost} worker processes died while they worked on {name}")
    with phase(monitor, "reading"):
        part = await asyncio.to_thread(read_part, stage.source.folder, name)
    there = await asyncio.to_thread(read_footer, stage.info.folder, name)
    fits = there is not None and there.input_digest == part.digest
    if there is not None and fits and there.digest != row["replaces"]:
        monitor.end.remote(name)
        return there
    earlier = await asyncio.to_thread(_rows_to_keep, stage, name) if fits and retry_errors else None
    began = time.monotonic()
    rows = await stage.worker.work(name, part.rows, earlier)
    check_keys(stage, name, part.rows, rows)
    seconds = round(time.monotonic() - began, 3)
    facts = {**stage.worker.facts(rows), "seconds": seconds}
    with phase(monitor, "committing"):
        committed = await asyncio.to_thread(commit_part, stage.info.folder, name, rows, facts, part.digest)
    monitor.end.remote(name, seconds)
    return committed


def _rows_to_keep(stage: PartStage, name: str) -> pa.Table | None:
    """The rows of an earlier output part; None where it cannot be read, so that all are made again."""
    try:
        return read_part(stage.info.folder, name).rows
    except DamagedPart:
        return None


@contextmanager
def phase(monitor: Any, name: str) -> Iterator[None]:
    """Count a worker or a part in a phase (`progress.WAITING`) while the block runs."""
    monitor.add.remote({name: 1})
    try:
        yield
    finally:
        monitor.add.remote({name: -1})


def check_keys(stage: PartStage, name: str, source: pa.Table, rows: pa.Table) -> None:
    """Refuse a part that does not hold exactly the rows that its input asks for, each once.

    Raises:
        JobFailed: a worker lost, invented or repeated rows, or wrote other columns: a bug, and nothing is written.
    """
    if rows.schema != stage.worker.schema:
        raise JobFailed(f"{stage.info.name}/{name}: the rows have the schema {rows.schema}, not {stage.worker.schema}")
    asked = sorted(stage.worker.asked(name, source))
    got = sorted(keys_of(rows, stage.worker.keys))
    if asked != got:
        wrong = sorted(set(asked) ^ set(got)) or [key for key in got if got.count(key) > 1]
        raise JobFailed(f"{stage.info.name}/{name}: rows that are missing, repeated or not asked for: {wrong[:5]}")
