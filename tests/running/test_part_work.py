"""A worker process without Ray: what it asks the monitor for, when, and what it commits."""

import asyncio
from concurrent.futures import Future

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.errors import JobFailed
from drp_ray.running.dealing import Dealing, PartToDo
from drp_ray.running.part_outcomes import committed_in
from drp_ray.running.part_work import Assignment, PartLoop
from drp_ray.running.stage_info import PartStage, StageInfo
from drp_ray.running.worker import Pool, Worker
from drp_ray.storage.local import LocalFolder
from drp_ray.storage.parts import commit_part, part_name

ROWS = pa.schema([("n", pa.int64())])
PATIENCE_S = 20


class Seated(Worker):
    """Rows take seats and some turns of the loop; as a worker with a model does, it says how many seats are left."""

    schema, keys = ROWS, ("n",)

    def __init__(self, seats: int) -> None:
        self.seats, self.open, self.answered, self.failure = seats, 0, 0, None

    async def start(self, count):
        self.count, self.free = count, asyncio.Semaphore(self.seats)
        if self.failure is not None:
            raise self.failure

    def room(self):
        return self.seats - self.open

    async def work(self, part, rows, earlier):
        self.open += rows.num_rows
        await asyncio.gather(*map(self.answer, rows["n"].to_pylist()))
        return rows

    async def answer(self, n):
        async with self.free:
            for _ in range(n % 3):
                await asyncio.sleep(0)
        self.open -= 1
        self.answered += 1
        self.count(rows=1)


class Remote:
    """A method as Ray's handle of an actor has it."""

    def __init__(self, method) -> None:
        self.method = method

    def remote(self, *arguments):
        return self.method(*arguments)


class FakeMonitor:
    """Deals parts; parts in `taken` are committed by somebody else."""

    def __init__(self, parts, worker, taken=()) -> None:
        self.dealing, self.worker, self.taken = Dealing(parts), worker, taken
        self.over, self.rows_under_way, self.most_parts, self.outcomes, self.counted = Future(), [], 0, {}, 0
        self.failed, self.dealt, self.rows_dealt = [], 0, 0
        self.changed = asyncio.Event()

    def __getattr__(self, name):
        return Remote(object.__getattribute__(self, f"do_{name}"))

    async def do_ask(self, deal, worker, node):
        while True:
            part = self.dealing.deal(worker, 0.0)
            if part is not None:
                self.rows_under_way.append(self.rows_dealt - self.worker.answered)
                self.rows_dealt += part.rows
                self.dealt += 1
                self.most_parts = max(self.most_parts, self.dealt - len(self.outcomes))
                return part
            if self.dealing.is_over:
                return None
            await self.changed.wait()

    async def do_may_commit(self, deal, worker, part):
        if part in self.taken:
            self.finished(part, worker, {})
            return False
        return self.dealing.may_commit(worker, part)

    async def do_end(self, deal, worker, part, outcome, counts, seconds=None):
        self.counted += counts.get("rows", 0)
        self.finished(part, worker, outcome)

    async def do_fail(self, deal, outcome):
        self.failed.append(outcome)

    def do_add(self, counts, deal):
        self.counted += counts.get("rows", 0)

    def do_until_over(self, deal):
        class Reference:
            def future(_):
                return self.over

        return Reference()

    def finished(self, part, worker, outcome):
        self.outcomes[part] = outcome
        self.dealing.end(worker, part, 0.0)
        if self.dealing.is_over and not self.over.done():
            self.over.set_result(None)
        self.changed.set()
        self.changed = asyncio.Event()


def play(folder, sizes, worker, pool, taken=(), fails=None):
    """Run a worker process over parts of these sizes; its monitor, and the folder that it wrote."""
    source, made = LocalFolder(folder / "source"), LocalFolder(folder / "made")
    parts = []
    for index, size in enumerate(sizes):
        rows = pa.table({"n": range(100 * index, 100 * index + size)}, schema=ROWS)
        parts.append(PartToDo(commit_part(source, part_name(index), rows, {}, "").name, size))
    worker.failure = fails
    stage = PartStage(StageInfo("made", "f", {}, made), StageInfo("source", "f", {}, source), worker, pool)

    async def run():
        monitor = FakeMonitor(parts, worker, taken)
        loop = PartLoop(Assignment((stage,), False, monitor, "deal", "worker 1"), "node")
        await asyncio.wait_for(loop.run(), PATIENCE_S)
        return monitor

    return asyncio.run(run()), made


@settings(max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 20), st.integers(1, 5))
def test_a_worker_asks_only_while_it_has_free_seats_and_makes_every_part(tmp_path_factory, sizes, seats, most_parts):
    worker, pool = Seated(seats), Pool(replicas=1, num_gpus=0, parts_in_flight=most_parts)
    monitor, made = play(tmp_path_factory.mktemp("played"), sizes, worker, pool)
    committed = [committed_in(outcome) for outcome in monitor.outcomes.values()]
    assert sorted(part.rows for part in committed) == sorted(sizes) and monitor.counted == sum(sizes)
    assert len([entry for entry in made.entries() if entry.name.startswith("part-")]) == len(sizes)
    assert monitor.most_parts <= most_parts
    assert all(under_way < seats for under_way in monitor.rows_under_way)


def test_a_part_that_another_worker_commits_is_given_up(tmp_path):
    pool = Pool(replicas=1, num_gpus=0, parts_in_flight=3)
    monitor, made = play(tmp_path, [2, 3, 1], Seated(4), pool, taken=(part_name(1),))
    assert sorted(entry.name for entry in made.entries()) == [part_name(0), part_name(2)]
    assert monitor.outcomes[part_name(1)] == {}


def test_a_worker_without_a_model_works_on_one_part_at_a_time_beside_the_loop(tmp_path):
    class Busy(Seated):
        async def start(self, count):
            self.at_once = self.most_at_once = 0

        def room(self):
            return None

        async def work(self, part, rows, earlier):
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await asyncio.sleep(0.002)
            self.at_once -= 1
            return rows

    worker = Busy(1)
    monitor, _ = play(tmp_path, [3, 1, 2, 2], worker, pool=None)
    assert worker.most_at_once == 1 and 1 < monitor.most_parts <= 3 and monitor.counted == 8


def test_a_model_that_cannot_be_loaded_is_told_as_it_was_said(tmp_path):
    monitor, _ = play(tmp_path, [1], Seated(1), Pool(1, 0), fails=JobFailed("no such model"))
    with pytest.raises(JobFailed, match=r"^no such model$"):
        committed_in(monitor.failed[0])
