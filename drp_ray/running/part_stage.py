"""Runs a stage: what is pending streams through Ray Data, and every part is committed in one atomic step.

A part is named, not carried: what flows through Ray Data are part names, and the worker that gets a name reads
the input part, works, and commits the output part itself. So a part is whole on storage the moment it is done,
nothing large crosses the object store, and two CPUs are enough.

| failure                               | where it is caught               | what results                            |
|---------------------------------------|----------------------------------|-----------------------------------------|
| a row cannot be answered              | `llm.RowCaller`                  | an error row; its part is committed     |
| the engine dies                       | `calls.LiveEngine`               | started again; its rows are asked again |
| a row kills engines                   | `calls.ModelWorker`              | asked alone, then an error row          |
| a worker process or its node dies     | Ray, which restarts the actor    | parts not yet committed are done again  |
| a part kills worker processes         | `run_part`, by `Monitor.begin`   | the job fails and names the part        |
| a worker writes other rows than asked | `check_keys`, before the commit  | the job fails; nothing is written       |
| the driver is killed                  | `survey`, at the next start      | committed parts stay, the rest is run   |
| an input part was replaced            | `survey`, by the footer's digest | the output part is made again           |
| two jobs at one folder                | `lease`                          | the second says so and stops            |
| a signal                              | `cli`                            | exit 130 or 143; committed parts stay   |
"""

import asyncio
import gc
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import ray

from drp_ray.errors import BadInput, JobFailed
from drp_ray.running.progress import Counts, Heartbeat
from drp_ray.storage.folder import Folder
from drp_ray.storage.lease import optional_lease
from drp_ray.storage.parts import (
    Committed,
    Facts,
    Manifest,
    PartEntry,
    add_up,
    commit_part,
    read_committed,
    read_footer,
    read_manifest,
    read_part,
    write_manifest,
)

Key = tuple[Any, ...]
COUNTS_EVERY_S = 0.5

MAX_LOST_WORKERS = 5
"""Worker processes that may die over one part before the job stops: more is no accident of the cluster."""


class Worker(ABC):
    """The work of a stage, from the rows of an input part to the rows of the output part.

    Workers travel to other processes before they start, so they must pickle. Reading, committing, resuming,
    counting and retrying are the runner's.
    """

    schema: pa.Schema
    keys: tuple[str, ...]

    async def start(self, count: Callable[..., None]) -> None:  # noqa: B027 (most workers load nothing)
        """Load what the work needs. `count(rows=1, errors=0, …)` reports progress within a part."""

    @abstractmethod
    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Turn an input part into an output part; `earlier` is the output that has error rows to be done again."""

    def asked(self, part: str, rows: pa.Table) -> Iterable[Key]:
        """The keys of the rows that an input part asks for; by default those of its own rows."""
        return keys_of(rows, self.keys)

    def facts(self, rows: pa.Table) -> Facts:
        """Numbers about an output part that add up over parts."""
        return {}

    async def close(self) -> None:  # noqa: B027 (nor hold anything)
        """Free what `start` took."""


@dataclass(frozen=True)
class Pool:
    """How many workers hold a model at the same time, and what each takes of the cluster.

    `parts_in_flight` is how many parts a worker is given at once.
    """

    replicas: int
    num_gpus: float
    num_cpus: float = 1
    parts_in_flight: int = 2


@dataclass(frozen=True)
class StageInfo:
    """What names a stage's result: its fingerprint and the payload that it is a hash of."""

    name: str
    fingerprint: str
    made_from: Mapping[str, Any]
    folder: Folder


@dataclass(frozen=True)
class PartStage:
    """A stage whose output part i is a function of input part i alone."""

    info: StageInfo
    source: StageInfo
    worker: Worker
    pool: Pool | None = None
    expected_rows: str = "rows"
    """The fact of an input part that says how many rows its output part has."""


@dataclass(frozen=True)
class Options:
    """How stages are run."""

    heartbeat_s: float
    lease_ttl_s: float | None
    retry_errors: bool
    monitor: Any = field(repr=False)


@dataclass(frozen=True)
class Survey:
    """What is there of a stage and what is not: a pure function of a manifest and of committed parts.

    `replaced` has the digests of those committed parts that are pending again.
    """

    done: Mapping[str, Committed]
    pending: tuple[PartEntry, ...]
    replaced: Mapping[str, str]


def survey(source: Manifest, committed: Mapping[str, Committed], expected_rows: str, retry_errors: bool) -> Survey:
    """Find the pending parts, largest first so that no long part is left for the end.

    A part is pending where it is absent, was made from another input than the one that is there now, or holds
    error rows that are to be tried again.
    """
    done, pending = {}, []
    for entry in source.parts:
        found = committed.get(entry.name)
        if found is None or found.input_digest != entry.digest or (retry_errors and can_improve(found.facts)):
            pending.append(entry)
        else:
            done[entry.name] = found
    pending.sort(key=lambda entry: (-entry.facts.get(expected_rows, entry.rows), entry.name))
    replaced = {entry.name: committed[entry.name].digest for entry in pending if entry.name in committed}
    return Survey(done, tuple(pending), replaced)


def run_part_stage(stage: PartStage, options: Options) -> Manifest:
    """Run what is pending of a stage; its manifest says that it is done when it is.

    Raises:
        JobFailed: another job holds the folder, or the work could not go on.
    """
    source = read_manifest(stage.source.folder)
    if source is None or not source.is_done:
        raise JobFailed(f"{stage.info.name}: its input {stage.source.folder.uri} is not complete")
    manifest = read_manifest(stage.info.folder)
    if (
        manifest is not None
        and is_current(manifest, {source.stage: source})
        and not (options.retry_errors and can_improve(manifest.totals))
    ):
        return manifest
    with optional_lease(stage.info.folder, options.lease_ttl_s) as check_lease:
        return _run_pending(stage, source, options, check_lease)


def is_current(manifest: Manifest | None, manifests: Mapping[str, Manifest | None]) -> bool:
    """Whether a stage is done and was made from what its inputs hold now."""
    if manifest is None or not manifest.is_done:
        return False
    sources = {name: manifests.get(name) for name in manifest.inputs}
    return all(
        source is not None and source.is_done and source.content == manifest.inputs[name]
        for name, source in sources.items()
    )


def _run_pending(stage: PartStage, source: Manifest, options: Options, check_lease: Callable[[], None]) -> Manifest:
    folder = stage.info.folder
    committed = read_committed(folder, (entry.name for entry in source.parts))
    found = survey(source, committed, stage.expected_rows, options.retry_errors)
    began, wall_before = time.monotonic(), getattr(read_manifest(folder), "wall_s", 0.0)
    unfinished = Manifest(
        stage=stage.info.name,
        fingerprint=stage.info.fingerprint,
        made_from=dict(stage.info.made_from),
        inputs={source.stage: source.content},
        parts=[_planned(entry, stage.expected_rows) for entry in source.parts],
        wall_s=wall_before,
    )
    write_manifest(folder, unfinished)
    done = dict(found.done)
    try:
        for part in _stream(stage, source, found, options):
            check_lease()
            done[part.name] = part
    finally:
        finished = finish(unfinished, done, wall_before + time.monotonic() - began)
        write_manifest(folder, finished)
    return finished


def can_improve(facts: Facts | None) -> bool:
    """Whether `--retry-errors` would do a part again: it has error rows, or rows that lack something."""
    return facts is not None and bool(facts.get("errors") or facts.get("retryable"))


def _planned(entry: PartEntry, expected_rows: str) -> PartEntry:
    return PartEntry(name=entry.name, rows=int(entry.facts.get(expected_rows, entry.rows)))


def finish(manifest: Manifest, done: Mapping[str, Committed], wall_s: float) -> Manifest:
    """The manifest with what was committed; with totals where that is everything."""
    parts = [done[part.name].entry if part.name in done else part for part in manifest.parts]
    complete = len(done) == len(manifest.parts)
    totals = {"rows": 0, **add_up(part.facts for part in parts)} if complete else None
    return manifest.model_copy(update={"parts": parts, "wall_s": wall_s, "totals": totals})


def _stream(stage: PartStage, source: Manifest, found: Survey, options: Options) -> Iterable[Committed]:
    if not found.pending:
        return
    ray.get(options.monitor.reset.remote())
    rows = sum(_planned(entry, stage.expected_rows).rows for entry in source.parts)
    rows_before = sum(int(committed.facts["rows"]) for committed in found.done.values())
    heartbeat = Heartbeat(
        options.monitor,
        stage.info.name,
        options.heartbeat_s,
        total=(len(source.parts), rows),
        done=(len(found.done), rows_before),
    )
    with heartbeat.beating():
        for row in pending_dataset(stage, found, options).iter_rows():
            if row["failure"]:
                kind, message = json.loads(row["failure"])
                raise (BadInput if kind == BadInput.__name__ else JobFailed)(message)
            heartbeat.part_done()
            yield Committed(**json.loads(row["committed"]))


def pending_dataset(stage: PartStage, found: Survey, options: Options) -> ray.data.Dataset:
    """The Ray Data plan of a stage: part names in, what was committed out."""
    names = [{"part": entry.name, "replaces": found.replaced.get(entry.name, "")} for entry in found.pending]
    parts = ray.data.from_items(names, override_num_blocks=len(names))
    arguments = {"stage": stage, "retry_errors": options.retry_errors, "monitor": options.monitor}
    if stage.pool is None:
        return parts.map(run_part_in_task, fn_kwargs=arguments, num_cpus=1)
    replicas = min(stage.pool.replicas, len(names))
    return parts.map_batches(
        PartActor,
        batch_size=1,
        batch_format="pyarrow",
        fn_constructor_kwargs=arguments,
        num_cpus=stage.pool.num_cpus,
        num_gpus=stage.pool.num_gpus,
        compute=ray.data.ActorPoolStrategy(
            size=replicas,
            max_tasks_in_flight_per_actor=stage.pool.parts_in_flight,
            max_concurrent_calls_per_actor=stage.pool.parts_in_flight,
        ),
    )


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
        with told_as_row() as outcome:
            await self._starting
            committed = await run_part(self._stage, row, self._retry_errors, self._monitor)
            outcome |= as_row(committed)
        return pa.Table.from_pylist([outcome])

    async def _start(self) -> None:
        await self._stage.worker.start(self._count)
        # What was loaded stays until the process ends: the collector would walk it while the model works, and for
        # two seconds at the end.
        gc.freeze()

    def _count(self, **counts: float) -> None:
        """Collect counts and send them twice a second: a remote call for every row would cost more than it tells."""
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

    with told_as_row() as outcome:
        committed = asyncio.run(run())
        monitor.add.remote({"rows": committed.facts["rows"]})
        outcome |= as_row(committed)
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
    part = await asyncio.to_thread(read_part, stage.source.folder, name)
    there = await asyncio.to_thread(read_footer, stage.info.folder, name)
    fits = there is not None and there.input_digest == part.digest
    if there is not None and fits and there.digest != row["replaces"]:
        monitor.end.remote(name)
        return there
    earlier = (await asyncio.to_thread(read_part, stage.info.folder, name)).rows if fits and retry_errors else None
    began = time.monotonic()
    rows = await stage.worker.work(name, part.rows, earlier)
    check_keys(stage, name, part.rows, rows)
    facts = {**stage.worker.facts(rows), "seconds": round(time.monotonic() - began, 3)}
    committed = await asyncio.to_thread(commit_part, stage.info.folder, name, rows, facts, part.digest)
    monitor.end.remote(name)
    return committed


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


def keys_of(rows: pa.Table, columns: Iterable[str]) -> list[Key]:
    """The key of every row."""
    return list(zip(*(rows[column].to_pylist() for column in columns), strict=True))


def as_row(committed: Committed) -> dict[str, str]:
    """A committed part as Ray Data carries it: as text, since the facts of two stages differ in their names."""
    return {"committed": json.dumps(asdict(committed)), "failure": ""}


@contextmanager
def told_as_row() -> Iterator[dict[str, str]]:
    """Make a row of a failure that a person is to be told: Ray Data keeps of an exception only its text."""
    outcome: dict[str, str] = {}
    try:
        yield outcome
    except (BadInput, JobFailed) as error:
        outcome |= {"committed": "", "failure": json.dumps([type(error).__name__, str(error)])}
