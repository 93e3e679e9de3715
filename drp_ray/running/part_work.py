"""Works on parts where Ray runs it, in an actor that keeps its models or in a task, until no part is left."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from drp_ray.errors import BadInput, JobFailed, StageFailed
from drp_ray.running.dealing import PartToDo
from drp_ray.running.part_outcomes import committed_row, failed_part_as_row, failed_row
from drp_ray.running.progress import Counts
from drp_ray.running.stage_info import PartStage
from drp_ray.running.worker import Worker, keys_of
from drp_ray.storage.parts import Committed, DamagedPart, Facts, Part, commit_part, read_footer, read_part

COUNTS_EVERY_S = 0.5

PARTS_OF_A_CPU = 3
"""Parts that a worker without a model has at once: one is read and one committed while one is worked on."""


class GivenAway(Exception):
    """Another worker commits the part."""


@dataclass(frozen=True)
class Assignment:
    """What a worker process is told: the stages, and how to reach the monitor that deals their parts.

    The stages load the same. `worker` names the process among all that ever worked on them. What it has loaded stays
    for the next stages where it `is_kept`.
    """

    stages: tuple[PartStage, ...]
    retry_errors: bool
    monitor: Any
    deal: str
    worker: str
    is_kept: bool = False


class PartActor:
    """A worker that keeps its models, in an actor. Given a worker of a later stage, it can load `ahead` of time."""

    def __init__(self, ahead: Worker | None = None) -> None:
        self._ahead = ahead
        self._kept: Worker | None = None
        self._loading: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Begin to load ahead. What goes wrong is raised once the work is to begin.

        Ray may run calls of an actor that is not up yet in another order: `serve` begins it where it comes first.
        """
        if self._ahead is not None:
            self._kept, self._ahead = self._ahead, None
            self._loading = asyncio.ensure_future(self._kept.load())

    async def serve(self, assignment: Assignment) -> None:
        """Work on parts until none is left."""
        await self.load()
        loop = PartLoop(assignment, _node(), self._kept, self._loading)
        self._kept = self._loading = None
        await loop.run()
        self._kept = loop.first if assignment.is_kept else None

    async def free(self) -> None:
        """Free what was kept."""
        if self._loading is not None:
            await asyncio.wait([self._loading])
        if self._kept is not None:
            await self._kept.close()
            self._kept = None


def serve_in_task(assignment: Assignment) -> None:
    """Work on parts until none is left, in a task: its process serves the next stage too."""
    asyncio.run(PartLoop(assignment, _node()).run())


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


class PartLoop:
    """Asks for a part whenever there is room for one, and works on several at a time.

    What the `first` worker has loaded is shared by those of the other stages; it may have been loaded for earlier
    ones, or ahead of time, by the worker that is `kept`.
    """

    def __init__(
        self,
        assignment: Assignment,
        node: str,
        kept: Worker | None = None,
        loading: "asyncio.Task[None] | None" = None,
    ) -> None:
        self._told, self._stages, self._monitor = assignment, assignment.stages, assignment.monitor
        self._name = (assignment.deal, assignment.worker)
        self._node = node
        self._kept, self._loading = kept, loading
        self.first = self._stages[0].worker
        pool = self._stages[0].pool
        self._has_model = pool is not None
        self._most_parts = PARTS_OF_A_CPU if pool is None else pool.parts_in_flight
        self._parts: set[asyncio.Task[None]] = set()
        self._rows_coming = 0
        self._counted: Counts = {}
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Load what the work needs, work, and free it again unless it is kept."""
        self._over = asyncio.wrap_future(self._monitor.until_over.remote(self._told.deal).future())
        self._over.add_done_callback(lambda _: self._changed.set())
        try:
            await self._start()
        except (BadInput, JobFailed) as failure:
            await self._monitor.fail.remote(self._told.deal, {**failed_row(failure, of_all=True), "stage": "0"})
            return
        is_kept = False
        try:
            await self._work_on_parts()
            is_kept = self._told.is_kept
        finally:
            if not is_kept:
                await self.first.close()

    async def _start(self) -> None:
        count = self._count if self._has_model else lambda **counts: None
        with phase(self._add, "loading"):
            if self._loading is not None:
                await self._loading
            if self._kept is not None:
                self.first.share(self._kept.loaded())
            await self.first.start(count)
        for stage in self._stages[1:]:
            stage.worker.share(self.first.loaded())
            await stage.worker.start(count)
        if self._has_model:
            # What was loaded stays until the process ends: the collector would walk it while the model works, and for
            # two seconds at the end.
            gc.freeze()

    async def _work_on_parts(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while (part := await self._next_part()) is not None:
                    self._rows_coming += part.rows
                    task = group.create_task(self._make(part))
                    self._parts.add(task)
                    task.add_done_callback(self._forget)
                for task in self._parts:  # others have committed these
                    task.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _next_part(self) -> PartToDo | None:
        """Wait until there is room for a part, and then for a part; None once none is left."""
        while not self._has_room():
            self._changed.clear()
            await self._changed.wait()
            if self._over.done():
                return None
        part: PartToDo | None = await self._monitor.ask.remote(*self._name, self._node)
        return part

    def _has_room(self) -> bool:
        room = self.first.room()
        return len(self._parts) < self._most_parts and (room is None or room > self._rows_coming)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._parts.discard(task)
        self._changed.set()

    async def _make(self, part: PartToDo) -> None:
        """Make a part and say what became of it."""
        outcome: dict[str, str]
        seconds: list[float] = []
        try:
            with failed_part_as_row() as outcome:
                committed = await self._made(part, seconds)
                outcome |= committed_row(committed)
                if not self._has_model:
                    self._count(rows=committed.rows)
        except GivenAway:
            return
        counts, self._counted = self._counted, {}
        told = {**outcome, "stage": str(part.stage)}
        await self._monitor.end.remote(*self._name, part.name, told, counts, *seconds)

    async def _made(self, to_do: PartToDo, seconds: list[float]) -> Committed:
        """Read an input part, work, check, commit.

        A part may be dealt again though it was committed, by a worker that was lost before it could say so: what
        stands there since the survey is not made a second time.
        """
        stage, name = self._stages[to_do.stage], to_do.part
        try:
            with phase(self._add, "reading"):
                part = await asyncio.to_thread(read_part, stage.source.folder, name)
                there = await asyncio.to_thread(read_footer, stage.info.folder, name)
            fits = there is not None and there.input_digest == part.digest
            if there is not None and fits and there.digest != to_do.replaces:
                return there
            earlier = await asyncio.to_thread(_part_to_mend, stage, name) if fits and self._told.retry_errors else None
        finally:
            self._rows_coming -= to_do.rows
        began = time.monotonic()
        rows = await self._worked_on(stage, name, part, earlier.rows if earlier is not None else None)
        check_keys(stage, name, part.rows, rows)
        seconds.append(round(time.monotonic() - began, 3))
        facts = {**stage.worker.facts(rows), "seconds": seconds[0]}
        before = earlier.facts if earlier is not None else {}
        for fact in before.keys() & set(stage.worker.carried):
            facts[fact] = facts.get(fact, 0) + before[fact]
        return await self._committed(to_do, rows, facts, part.digest)

    async def _worked_on(self, stage: PartStage, name: str, part: Part, earlier: pa.Table | None) -> pa.Table:
        if self._has_model:
            return await stage.worker.work(name, part.rows, earlier)
        # It computes, and would keep the loop from reading and committing meanwhile.
        async with self._one_at_a_time:
            return await asyncio.to_thread(asyncio.run, stage.worker.work(name, part.rows, earlier))

    async def _committed(self, to_do: PartToDo, rows: pa.Table, facts: Facts, input_digest: str) -> Committed:
        if not await self._monitor.may_commit.remote(*self._name, to_do.name):
            raise GivenAway
        folder = self._stages[to_do.stage].info.folder
        with phase(self._add, "committing"):
            return await asyncio.to_thread(commit_part, folder, to_do.part, rows, facts, input_digest)

    def _count(self, **counts: float) -> None:
        """Collect counts and send them twice a second: a remote call for every row would cost more than it says."""
        self._changed.set()
        if not self._counted:
            asyncio.get_running_loop().call_later(COUNTS_EVERY_S, self._send_counts)
        for name, value in counts.items():
            self._counted[name] = self._counted.get(name, 0) + value

    def _send_counts(self) -> None:
        if self._counted:
            self._add(self._counted)
            self._counted = {}

    def _add(self, counts: Counts) -> None:
        self._monitor.add.remote(counts, self._told.deal)


def _part_to_mend(stage: PartStage, name: str) -> Part | None:
    """An earlier output part; None where it cannot be read, so that all its rows are made again."""
    try:
        return read_part(stage.info.folder, name)
    except DamagedPart:
        return None


@contextmanager
def phase(add: Callable[[Counts], None], name: str) -> Iterator[None]:
    """Count a worker or a part in a phase (`progress.WAITING`) while the block runs."""
    add({name: 1})
    try:
        yield
    finally:
        add({name: -1})


def check_keys(stage: PartStage, name: str, source: pa.Table, rows: pa.Table) -> None:
    """Refuse a part that does not hold exactly the rows that its input asks for, each once.

    Raises:
        StageFailed: a worker lost, invented or repeated rows, or wrote other columns: a bug, and nothing is written.
    """
    if rows.schema != stage.worker.schema:
        raise StageFailed(
            f"{stage.info.name}/{name}: the rows have the schema {rows.schema}, not {stage.worker.schema}"
        )
    asked = sorted(stage.worker.asked(name, source))
    got = sorted(keys_of(rows, stage.worker.keys))
    if asked != got:
        wrong = sorted(set(asked) ^ set(got)) or [key for key in got if got.count(key) > 1]
        raise StageFailed(f"{stage.info.name}/{name}: rows that are missing, repeated or not asked for: {wrong[:5]}")
