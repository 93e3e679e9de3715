"""Raw reviews and metadata into a dataset: extract (Ray Data), thin out (DuckDB, on ids), route and gather (Ray Data).

What every step makes lies in files that are written in one step each, so a build that was cut short continues with
what is missing; the order of everything is settled by the input alone, so its result is the same byte for byte.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from drp_ray.data import rules as names
from drp_ray.data.apply_rules import Thinning, open_database
from drp_ray.data.catalogue import write_catalogue
from drp_ray.data.extract import ChunkFacts, Extraction, ItemMaker, Maker, ReviewMaker, refuse_foreign
from drp_ray.data.figures import SplitFigures, category_of, report_of
from drp_ray.data.formats import Format
from drp_ray.data.inputs import RawFile, changed_at, identity
from drp_ray.data.layout import Target, being_made, delete_others, finish, is_built, read_json
from drp_ray.data.placing import place_reviews
from drp_ray.data.routing import Routing, gather, plan_routes
from drp_ray.data.rules import Rules
from drp_ray.data.split import split_users
from drp_ray.data.tables import write_table
from drp_ray.data.tasks import (
    Progress,
    Runner,
    RunnerOf,
    Say,
    columns_of,
    extract_all,
    on_ray,
    parts_there,
    write_parts,
)
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import MANIFEST, part_name


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
        """The published category that the files, or the folders that they lie in, are named after."""
        return (
            "Yelp"
            if self.format.name == "yelp"
            else category_of("/".join(file.uri.split("/")[-2:]) for file in self.reviews)
        )

    def extraction(self, files: Sequence[RawFile], maker: Maker, folder: Folder) -> Extraction:
        """The first pass over some of the files."""
        return Extraction(files, maker, folder, self.options.chunk_bytes, self.options.allow_truncated)


def build(job: Build, say: Say, runner_of: RunnerOf = on_ray) -> str:
    """Make the dataset unless it is there; the table that describes it.

    Raises:
        BadInput: the files are not what they should be, a rule leaves nothing, or the folder holds something else.
        JobFailed: another process makes a dataset there.
    """
    target = job.target
    if is_built(target):
        say(f"Nothing to do: {target.out.uri} is complete.")
        return report_of(read_json(target.out, MANIFEST) or {})
    reviews = job.extraction(job.reviews, ReviewMaker(job.format, job.rules), target.work("reviews"))
    meta = job.extraction(job.meta, ItemMaker(job.format, job.rules), target.work("meta"))
    for extraction in (reviews, meta):
        refuse_foreign(extraction)
    with being_made(target, say) as check, runner_of(job.options.num_cpus) as runner:
        meta_facts = extract_all(runner, meta, "metadata", job.options.max_bad_rows, say)
        review_facts = extract_all(runner, reviews, "reviews", job.options.max_bad_rows, say)
        with tempfile.TemporaryDirectory(prefix="drp-ray-", dir=job.options.scratch) as scratch:
            manifest = _thin_out_and_write(runner, job, target, Path(scratch), review_facts, meta_facts, say)
        check()
        manifest |= {"category": job.category, "truncated": _truncated(job, review_facts, meta_facts)}
        table = report_of(manifest)
        finish(target, manifest, table)
    return table


def _truncated(job: Build, *all_facts: Sequence[ChunkFacts]) -> list[str]:
    return [
        files[chunk.file].name
        for files, facts in zip((job.reviews, job.meta), all_facts, strict=True)
        for chunk in facts
        if chunk.is_truncated
    ]


def _thin_out_and_write(
    runner: Runner,
    job: Build,
    target: Target,
    scratch: Path,
    reviews: Sequence[ChunkFacts],
    meta: Sequence[ChunkFacts],
    say: Say,
) -> dict[str, Any]:
    """Count, settle what goes where, and write; what the manifest says of it."""
    routing = Routing(target.work("reviews"), target.work("routes"), target.work("routed"))
    began = time.monotonic()
    with open_database(scratch, job.options.memory_gb) as database:
        thinning = Thinning(database, job.rules)
        _account_for_rows(thinning, reviews)
        for batch in columns_of(target.work("meta"), meta, ["row_id", "item_id", "problem"]):
            thinning.add_items(batch)
        columns = ["row_id", "user_id", "item_id", "timestamp", "text_hash"]
        for batch in columns_of(target.work("reviews"), reviews, columns):
            thinning.add_reviews(batch)
        thinning.run()
        kept = thinning.drops[-1].left
        say(f"rules: {kept:,} reviews left, {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        items = write_catalogue(runner, database, target, say)
        plan = plan_routes(database, place_reviews(database, job.options.reviews_per_part), routing)
    splits = [name for name, inputs in job.rules.splits.items() if inputs]
    done = parts_there(target, [target.users(split) for split in splits])
    arguments = {"target": target, "rules": job.rules}
    parts = write_parts(runner, plan, routing, write_users, arguments, done, Progress("Writing users", say))
    for split in job.rules.splits:
        delete_others(target.users(split), set(parts) if split in splits else set())
    say(f"writing: {len(parts):,} parts of users, {time.monotonic() - began:.1f} s")
    return {
        "drops": [drop._asdict() for drop in thinning.drops],
        "duplicate_items": thinning.duplicate_items,
        "items": items,
        "reviews": kept,
        "splits": {name: _sum(parts, name).to_json() for name in splits},
    }


def _sum(parts: Mapping[str, Any], split: str) -> SplitFigures:
    return SplitFigures.sum(SplitFigures.from_json(told["splits"][split]) for told in parts.values())


def _account_for_rows(thinning: Thinning, reviews: Sequence[ChunkFacts]) -> None:
    left = sum(chunk.rows for chunk in reviews)
    for rule in (names.BAD_ROW, names.NO_TITLE, names.NO_NUMBERS, names.SHORT_REVIEW):
        dropped = sum(chunk.bad if rule == names.BAD_ROW else chunk.dropped.get(rule, 0) for chunk in reviews)
        left -= dropped
        thinning.note(rule, dropped, left)


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
