"""Raw reviews and metadata into a dataset: extract (Ray Data), thin out (DuckDB, on ids), route and gather (Ray Data).

What every step makes lies in files that are written in one step each, so a build that was cut short continues with
what is missing; the order of everything is settled by the input alone, so its result is the same byte for byte.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray import schema
from drp_ray.cluster import connect
from drp_ray.data import rules as names
from drp_ray.data.extract import (
    ChunkFacts,
    Extraction,
    ItemMaker,
    Maker,
    ReviewMaker,
    check_bad_rows,
    extract_piece,
    facts_of_done,
    refuse_foreign,
)
from drp_ray.data.figures import SplitFigures, as_text, category_of, drops_table, figures_table
from drp_ray.data.formats import Format
from drp_ray.data.inputs import RawFile, changed_at, identity, pieces_of
from drp_ray.data.layout import Target, being_made, delete_others, finish, is_built, read_json
from drp_ray.data.placing import place_items, place_reviews
from drp_ray.data.routing import Gathering, Route, Routing, gather, plan_routes, route
from drp_ray.data.rules import Rules
from drp_ray.data.split import split_users
from drp_ray.data.tables import read_told, write_table
from drp_ray.data.thinning import Drop, Thinning, open_database
from drp_ray.parts import MANIFEST, part_name
from drp_ray.storage import Folder

SAY_EVERY_S = 15.0
COLUMN_READERS = 4

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What does not change a dataset: memory, readers, where DuckDB spills. `reviews_per_part` changes its layout."""

    max_bad_rows: float = 0.001
    allow_truncated: bool = False
    memory_gb: float = 2.0
    chunk_bytes: int = 32 << 20
    reviews_per_part: int = 8192
    scratch: str | None = None
    num_cpus: int | None = None


@dataclass(frozen=True)
class Build:
    """A dataset to be made from raw files."""

    format: Format
    reviews: Sequence[RawFile]
    meta: Sequence[RawFile]
    out: Folder
    rules: Rules
    options: Options

    @property
    def target(self) -> Target:
        """The dataset's folder, and what it will hold."""
        made_from = {
            "kind": self.format.name,
            "reviews": [identity(file) for file in self.reviews],
            "meta": [identity(file) for file in self.meta],
            "rules": self.rules.model_dump(),
            "allow_truncated": self.options.allow_truncated,
            "reviews_per_part": self.options.reviews_per_part,
        }
        state = {
            "files": [[file.uri, changed_at(file)] for file in (*self.reviews, *self.meta)],
            "chunk_bytes": self.options.chunk_bytes,
        }
        return Target(self.out, made_from, state)

    @property
    def category(self) -> str | None:
        """The published category that the files are named after."""
        return "Yelp" if self.format.name == "yelp" else category_of(file.name for file in self.reviews)

    def extraction(self, files: Sequence[RawFile], maker: Maker, folder: Folder) -> Extraction:
        """The first pass over some of the files."""
        return Extraction(files, maker, folder, self.options.chunk_bytes, self.options.allow_truncated)


def build(job: Build, say: Say) -> str:
    """Make the dataset unless it is there; the table that describes it.

    Raises:
        BadInput: the files are not what they should be, a rule leaves nothing, or the folder holds something else.
        JobFailed: another process makes a dataset there.
    """
    target = job.target
    if is_built(target):
        say(f"Nothing to do: {target.out.uri} is complete.")
        return _table_of(read_json(target.out, MANIFEST) or {})
    reviews = job.extraction(job.reviews, ReviewMaker(job.format, job.rules), target.work("reviews"))
    meta = job.extraction(job.meta, ItemMaker(job.format, job.rules), target.work("meta"))
    for extraction in (reviews, meta):
        refuse_foreign(extraction)
    with being_made(target, say) as check, connect(job.options.num_cpus) as ray:
        readers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        meta_facts = _extract(ray, meta, readers, "metadata", job.options, say)
        review_facts = _extract(ray, reviews, readers, "reviews", job.options, say)
        with tempfile.TemporaryDirectory(prefix="drp-ray-", dir=job.options.scratch) as scratch:
            manifest = _thin_out_and_write(ray, job, target, Path(scratch), review_facts, meta_facts, say)
        check()
        manifest |= {"category": job.category, "truncated": _truncated(job, review_facts, meta_facts)}
        table = _table_of(manifest)
        finish(target, manifest, table)
    return table


def _table_of(manifest: Mapping[str, Any]) -> str:
    splits = {name: SplitFigures.from_json(told) for name, told in manifest["splits"].items()}
    tables: list[Any] = [figures_table(splits, manifest["items"], manifest["reviews"], manifest["category"])]
    if manifest["drops"]:
        tables.insert(0, drops_table(Drop(**drop) for drop in manifest["drops"]))
    notes = [f"Item metadata that came again and was left out: {manifest['duplicate_items']:,}"]
    notes += [f"Ends too early, what is there was used: {name}" for name in manifest["truncated"]]
    return as_text([*tables, *notes])


def _truncated(job: Build, *all_facts: Sequence[ChunkFacts]) -> list[str]:
    return [
        files[chunk.file].name
        for files, facts in zip((job.reviews, job.meta), all_facts, strict=True)
        for chunk in facts
        if chunk.is_truncated
    ]


def _extract(ray: Any, extraction: Extraction, readers: int, what: str, options: Options, say: Say) -> list[ChunkFacts]:
    began = time.monotonic()
    done = facts_of_done(extraction)
    names_done = frozenset(chunk.name for chunk in done)
    gzips = sum(file.kind == "gzip" for file in extraction.files)
    pieces = [
        asdict(piece)
        for number, file in enumerate(extraction.files)
        if not _is_covered(number, file, done)
        for piece in pieces_of(number, file, options.chunk_bytes, max(1, -(-readers // max(gzips, 1))))
    ]
    arguments = {"extraction": extraction, "done": names_done}
    progress = _Progress(f"Reading {what}", say)
    for row in run_tasks(ray, pieces, extract_piece, arguments):
        done.append(msgspec.convert(json.loads(row["facts"]), ChunkFacts))
        progress.tell(f"{sum(chunk.rows for chunk in done):,} rows")
    done.sort(key=lambda chunk: (chunk.file, chunk.chunk))
    bad = check_bad_rows(extraction.files, done, options.max_bad_rows)
    rows, kept = sum(chunk.rows for chunk in done), sum(chunk.kept for chunk in done)
    say(f"{what}: {rows:,} rows, {bad:,} bad, {kept:,} kept, {time.monotonic() - began:.1f} s")
    return done


def _is_covered(number: int, file: RawFile, done: Sequence[ChunkFacts]) -> bool:
    """Whether every chunk of a gzip file is there; of other files it is known what is missing without reading."""
    chunks = {chunk.chunk: chunk for chunk in done if chunk.file == number}
    return file.kind == "gzip" and bool(chunks) and len(chunks) == max(chunks) + 1 and chunks[max(chunks)].is_last


def run_tasks(
    ray: Any, tasks: Sequence[Mapping[str, Any]], work: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Run `work` on every task, as tasks of Ray Data; the rows that come back, in any order."""
    if not tasks:
        return iter(())
    plan = ray.data.from_items(list(tasks), override_num_blocks=len(tasks)).map_batches(
        work, batch_size=1, batch_format="pyarrow", fn_kwargs=dict(arguments)
    )
    return plan.iter_rows()


class _Progress:
    """Says a line now and then."""

    def __init__(self, what: str, say: Say) -> None:
        self._what, self._say, self._said = what, say, time.monotonic()

    def tell(self, how_far: str) -> None:
        if time.monotonic() - self._said >= SAY_EVERY_S:
            self._said = time.monotonic()
            self._say(f"{self._what}: {how_far}")


def _thin_out_and_write(
    ray: Any,
    job: Build,
    target: Target,
    scratch: Path,
    reviews: Sequence[ChunkFacts],
    meta: Sequence[ChunkFacts],
    say: Say,
) -> dict[str, Any]:
    began = time.monotonic()
    database = open_database(scratch, job.options.memory_gb)
    try:
        thinning = Thinning(database, job.rules)
        _account_for_rows(thinning, reviews)
        for batch in _columns(target.work("meta"), meta, ["row_id", "item_id", "problem"]):
            thinning.add_items(batch)
        columns = ["row_id", "user_id", "item_id", "timestamp", "text_hash"]
        for batch in _columns(target.work("reviews"), reviews, columns):
            thinning.add_reviews(batch)
        thinning.run()
        kept = thinning.drops[-1].left
        say(f"rules: {kept:,} reviews left, {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        review_routing = Routing(target.work("reviews"), target.work("routes"), target.work("routed"))
        item_routing = Routing(target.work("meta"), target.work("item-routes"), target.work("item-routed"))
        item_plan = plan_routes(database, place_items(database), item_routing)
        review_plan = plan_routes(database, place_reviews(database, job.options.reviews_per_part), review_routing)
    finally:
        database.close()
    items = _write_parts(ray, item_plan, item_routing, write_items, {"target": target}, "items", say)
    written = _write_parts(
        ray, review_plan, review_routing, write_users, {"target": target, "rules": job.rules}, "users", say
    )
    splits = {
        name: SplitFigures.sum(SplitFigures.from_json(told["splits"][name]) for told in written.values())
        for name, inputs in job.rules.splits.items()
        if inputs
    }
    for folder, parts in (
        (target.items, items),
        *((target.users(split), written if split in splits else {}) for split in job.rules.splits),
    ):
        delete_others(folder, set(parts))
    say(f"writing: {len(written):,} parts of users, {len(items):,} of items, {time.monotonic() - began:.1f} s")
    return {
        "drops": [drop._asdict() for drop in thinning.drops],
        "duplicate_items": thinning.duplicate_items,
        "items": sum(told["rows"] for told in items.values()),
        "reviews": kept,
        "splits": {name: split.to_json() for name, split in splits.items()},
    }


def _account_for_rows(thinning: Thinning, reviews: Sequence[ChunkFacts]) -> None:
    left = sum(chunk.rows for chunk in reviews)
    for rule in (names.BAD_ROW, names.NO_TITLE, names.NO_NUMBERS, names.SHORT_REVIEW):
        dropped = sum(chunk.bad if rule == names.BAD_ROW else chunk.dropped.get(rule, 0) for chunk in reviews)
        left -= dropped
        thinning.note(rule, dropped, left)


def _columns(folder: Folder, chunks: Sequence[ChunkFacts], columns: list[str]) -> Iterator[pa.Table]:
    def read(chunk: ChunkFacts) -> pa.Table:
        with folder.open(chunk.name) as file:
            return pq.read_table(file, columns=columns)

    with ThreadPoolExecutor(COLUMN_READERS) as pool:
        for begin in range(0, len(chunks), COLUMN_READERS):
            yield from pool.map(read, chunks[begin : begin + COLUMN_READERS])


def _write_parts(
    ray: Any,
    plan: tuple[list[Route], list[Gathering]],
    routing: Routing,
    write: Callable[..., pa.Table],
    arguments: Mapping[str, Any],
    what: str,
    say: Say,
) -> dict[str, Any]:
    """Route, gather and write what is not there yet; what every part says of itself."""
    routes, gatherings = plan
    there = {entry.name for entry in routing.routed.entries()}
    pending = [asdict(one) for one in routes if f"{one.name}.arrow" not in there]
    for _ in run_tasks(ray, pending, route, {"routing": routing}):
        pass
    target: Target = arguments["target"]
    done = _parts_there(target, what, arguments.get("rules"))
    tasks = [
        {"part": one.part, "batches": [{"file": file, "batch": batch} for file, batch in one.batches]}
        for one in gatherings
        if part_name(one.part) not in done
    ]
    progress = _Progress(f"Writing {what}", say)
    for row in run_tasks(ray, tasks, write, {**arguments, "routed": routing.routed}):
        done[row["name"]] = json.loads(row["told"])
        progress.tell(f"{len(done):,} of {len(gatherings):,} parts")
    return done


def _parts_there(target: Target, what: str, rules: Rules | None) -> dict[str, Any]:
    """The parts of this dataset that are whole: a part of users is there in every split."""
    folders = [target.items]
    if rules is not None:
        folders = [target.users(split) for split, inputs in rules.splits.items() if inputs]
    found = [read_told(folder, [entry.name for entry in folder.entries()]) for folder in folders]
    return {
        name: told
        for name, told in found[0].items()
        if told["fingerprint"] == target.fingerprint and all(other.get(name) == told for other in found)
    }


def write_items(batch: pa.Table, target: Target, routed: Folder) -> pa.Table:
    """A task of Ray Data: write a part of the catalogue."""
    (task,) = batch.to_pylist()
    rows = gather(task, routed).select(schema.CATALOGUE.names)
    told = {"fingerprint": target.fingerprint, "rows": rows.num_rows}
    name = part_name(task["part"])
    write_table(target.items, name, rows, told)
    return pa.table({"name": [name], "told": [json.dumps(told)]})


def write_users(batch: pa.Table, target: Target, rules: Rules, routed: Folder) -> pa.Table:
    """A task of Ray Data: write a part of the users of every split."""
    (task,) = batch.to_pylist()
    splits = {name: users for name, users in split_users(gather(task, routed), rules).items() if rules.splits[name]}
    told = {
        "fingerprint": target.fingerprint,
        "splits": {name: SplitFigures.of(users).to_json() for name, users in splits.items()},
    }
    name = part_name(task["part"])
    for split, users in splits.items():
        write_table(target.users(split), name, users, told)
    return pa.table({"name": [name], "told": [json.dumps(told)]})
