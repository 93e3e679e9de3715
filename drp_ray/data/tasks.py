"""The passes over text, as tasks of Ray Data: what a pass has written already is not made again."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.data.extract import ChunkFacts, Extraction, check_bad_rows, chunk_name, extract_piece, facts_of_done
from drp_ray.data.inputs import RawFile, pieces_of
from drp_ray.data.layout import Target
from drp_ray.data.routing import Gathering, Route, Routing, route
from drp_ray.data.tables import read_told
from drp_ray.running.cluster import connect
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import part_name

SAY_EVERY_S = 15.0
COLUMN_READERS = 4

Say = Callable[[str], None]


@dataclass(frozen=True)
class Runner:
    """Runs a function on every task and yields the rows of the tables that come back, in any order."""

    cpus: int
    run: Callable[[Sequence[Mapping[str, Any]], Callable[..., Any], Mapping[str, Any]], Iterable[dict[str, Any]]]


RunnerOf = Callable[[int | None], AbstractContextManager[Runner]]


@contextmanager
def on_ray(num_cpus: int | None) -> Iterator[Runner]:
    """Tasks of Ray Data, on the cluster or on a Ray that is started here with so many CPUs."""
    with connect(num_cpus) as ray:
        yield Runner(max(1, int(ray.cluster_resources().get("CPU", 1))), run_on_ray)


@contextmanager
def here(_: int | None = None) -> Iterator[Runner]:
    """One task after the other in this process, for what is too small for a cluster."""
    yield Runner(1, _run_here)


def run_on_ray(
    tasks: Sequence[Mapping[str, Any]], work: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterable[dict[str, Any]]:
    """Run `work` on every task, as tasks of Ray Data. It gets a table of one row, and returns or yields tables."""
    import ray

    if not tasks:
        return []
    plan = ray.data.from_items(list(tasks), override_num_blocks=len(tasks)).map_batches(
        work, batch_size=1, batch_format="pyarrow", fn_kwargs=dict(arguments)
    )
    return plan.iter_rows()


def _run_here(
    tasks: Sequence[Mapping[str, Any]], work: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterable[dict[str, Any]]:
    for task in tasks:
        made = work(pa.Table.from_pylist([dict(task)]), **arguments)
        for rows in [made] if isinstance(made, pa.Table) else made:
            yield from rows.to_pylist()


class Progress:
    """Says a line now and then."""

    def __init__(self, what: str, say: Say) -> None:
        self._what, self._say, self._said = what, say, time.monotonic()

    def tell(self, how_far: str) -> None:
        """Say how far it is, if nothing was said for a while."""
        if time.monotonic() - self._said >= SAY_EVERY_S:
            self._said = time.monotonic()
            self._say(f"{self._what}: {how_far}")


def extract_all(runner: Runner, extraction: Extraction, what: str, max_bad_rows: float, say: Say) -> list[ChunkFacts]:
    """Run the first pass over all files, or what is left of it; the facts of its chunks, in order.

    Raises:
        BadInput: a file cannot be read, or too many rows cannot.
    """
    began = time.monotonic()
    done = {chunk.name: chunk for chunk in facts_of_done(extraction)}
    gzips = sum(file.kind == "gzip" for file in extraction.files)
    readers = -(-runner.cpus // max(gzips, 1))
    pieces = [
        asdict(piece)
        for number, file in enumerate(extraction.files)
        if not _is_covered(number, file, done.values())
        for piece in pieces_of(number, file, extraction.chunk_bytes, readers)
        if piece.step or chunk_name(number, piece.first) not in done
    ]
    arguments = {"extraction": extraction, "done": frozenset(done)}
    progress = Progress(f"Reading {what}", say)
    for row in runner.run(pieces, extract_piece, arguments):
        chunk = msgspec.convert(json.loads(row["facts"]), ChunkFacts)
        done[chunk.name] = chunk
        progress.tell(f"{sum(chunk.rows for chunk in done.values()):,} rows")
    facts = sorted(done.values(), key=lambda chunk: (chunk.file, chunk.chunk))
    bad = check_bad_rows(extraction.files, facts, max_bad_rows)
    rows, kept = sum(chunk.rows for chunk in facts), sum(chunk.kept for chunk in facts)
    say(f"{what}: {rows:,} rows, {bad:,} bad, {kept:,} kept, {time.monotonic() - began:.1f} s")
    return facts


def _is_covered(number: int, file: RawFile, done: Iterable[ChunkFacts]) -> bool:
    """Whether every chunk of a gzip file is there; of other files it is known what is missing without reading."""
    chunks = {chunk.chunk: chunk for chunk in done if chunk.file == number}
    return file.kind == "gzip" and bool(chunks) and len(chunks) == max(chunks) + 1 and chunks[max(chunks)].is_last


def columns_of(folder: Folder, chunks: Sequence[ChunkFacts], columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of every chunk, in order."""

    def read(chunk: ChunkFacts) -> pa.Table:
        with folder.open(chunk.name) as file:
            return pq.read_table(file, columns=columns)

    with ThreadPoolExecutor(COLUMN_READERS) as pool:
        for begin in range(0, len(chunks), COLUMN_READERS):
            yield from pool.map(read, chunks[begin : begin + COLUMN_READERS])


def write_parts(
    runner: Runner,
    plan: tuple[list[Route], list[Gathering]],
    routing: Routing,
    write: Callable[..., pa.Table],
    arguments: Mapping[str, Any],
    done: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Route, gather and write the parts that are not `done`; what every part says of itself, by name."""
    routes, gatherings = plan
    there = {entry.name for entry in routing.routed.entries()}
    pending = [asdict(one) for one in routes if f"{one.name}.arrow" not in there]
    for _ in runner.run(pending, route, {"routing": routing}):
        pass
    tasks = [
        {"part": one.part, "batches": [{"file": file, "batch": batch} for file, batch in one.batches]}
        for one in gatherings
        if part_name(one.part) not in done
    ]
    for row in runner.run(tasks, write, {**arguments, "routed": routing.routed}):
        done[row["name"]] = json.loads(row["told"])
        progress.tell(f"{len(done):,} of {len(gatherings):,} parts")
    return done


def parts_there(target: Target, folders: Sequence[Folder]) -> dict[str, Any]:
    """The parts of this dataset that are whole: in all of the folders, which are written one after the other."""
    found = [read_told(folder, [entry.name for entry in folder.entries()]) for folder in folders]
    return {
        name: told
        for name, told in found[0].items()
        if told["fingerprint"] == target.fingerprint and all(other.get(name) == told for other in found)
    }
