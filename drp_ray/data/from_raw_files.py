"""`drp-ray data amazon` and `yelp`: raw reviews and metadata into a dataset.

First the rules about single rows (`extract`, on Ray Data), then those about several rows (`apply_rules`, on ids, in
DuckDB), then the texts of what is left into parts (`shuffle`, on Ray Data). What a step makes lies in files that are
written in one step each, so a build that was interrupted continues with what is missing. The order of everything
depends on the input alone, so the result is the same byte for byte.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from drp_ray.data import rules
from drp_ray.data.apply_rules import ITEM_COLUMNS, REVIEW_COLUMNS, RuleFilter
from drp_ray.data.build_options import BuildOptions
from drp_ray.data.database import open_database
from drp_ray.data.extract import ChunkFacts, Extraction, check_first_rows, columns_of, extract_all, truncated_files
from drp_ray.data.figures import SplitFigures, category_of
from drp_ray.data.footers import Footer, write_with_footer
from drp_ray.data.formats import Format
from drp_ray.data.layout import Destination, being_made, delete_others, mark_complete, table_if_complete
from drp_ray.data.raw_files import RawFile
from drp_ray.data.row_rules import ItemMaker, ReviewMaker, RowT, TableMaker
from drp_ray.data.rules import Rules
from drp_ray.data.shuffle import ShuffleFolders, ShufflePlan, finished_parts, place_reviews, plan_shuffle, shuffle
from drp_ray.data.split import split_users
from drp_ray.data.task_runner import OpenRunner, Progress, TaskRunner, on_ray
from drp_ray.data.write_catalogue import write_catalogue
from drp_ray.running.cluster import Say
from drp_ray.storage.folder import Folder


@dataclass(frozen=True)
class RawBuild:
    """A dataset to be made from raw files."""

    format: Format
    reviews: Sequence[RawFile]
    meta: Sequence[RawFile]
    out: Folder
    rules: Rules
    options: BuildOptions

    @property
    def destination(self) -> Destination:
        """The dataset's folder, and what it will hold."""
        made_from = {
            "kind": self.format.name,
            "reviews": [file.identity() for file in self.reviews],
            "meta": [file.identity() for file in self.meta],
            "rules": self.rules.model_dump(),
            "allow_truncated": self.options.allow_truncated,
            "reviews_per_part": self.options.reviews_per_part,
        }
        state = {
            "files": [[file.uri, file.changed_at()] for file in (*self.reviews, *self.meta)],
            "chunk_bytes": self.options.chunk_bytes,
        }
        return Destination(self.out, made_from, state)

    @property
    def category(self) -> str | None:
        """The published category that the files, or the folders that they lie in, are named after."""
        if self.format.name == "yelp":
            return "Yelp"
        return category_of("/".join(file.uri.split("/")[-2:]) for file in self.reviews)

    def extraction(self, files: Sequence[RawFile], maker: TableMaker[RowT], folder: Folder) -> Extraction[RowT]:
        """The first pass over some of the files."""
        return Extraction(files, maker, folder, self.options.chunk_bytes, self.options.allow_truncated)


def build_from_raw_files(build: RawBuild, say: Say, open_runner: OpenRunner = on_ray) -> str:
    """Make the dataset unless it is there; the table that describes it.

    Raises:
        BadInput: the files are not what they should be, a rule leaves nothing, or the folder holds something else.
        JobFailed: another process makes a dataset there.
    """
    destination = build.destination
    if (table := table_if_complete(destination, say)) is not None:
        return table
    reviews = build.extraction(build.reviews, ReviewMaker(build.format, build.rules), destination.work("reviews"))
    meta = build.extraction(build.meta, ItemMaker(build.format, build.rules), destination.work("meta"))
    check_first_rows(reviews)
    check_first_rows(meta)
    with being_made(destination, say) as check, open_runner(build.options.num_cpus) as runner:
        meta_facts = extract_all(runner, meta, "metadata", build.options.max_bad_rows, say)
        review_facts = extract_all(runner, reviews, "reviews", build.options.max_bad_rows, say)
        manifest = _filter_and_write(runner, build, destination, review_facts, meta_facts, say)
        check()
        truncated = truncated_files(build.reviews, review_facts) + truncated_files(build.meta, meta_facts)
        return mark_complete(destination, {**manifest, "category": build.category, "truncated": truncated})


def _filter_and_write(
    runner: TaskRunner,
    build: RawBuild,
    destination: Destination,
    reviews: Sequence[ChunkFacts],
    meta: Sequence[ChunkFacts],
    say: Say,
) -> dict[str, Any]:
    """Apply the rules about several rows, decide what goes where, and write; what the manifest says of it."""
    began = time.monotonic()
    with open_database(build.options.scratch, build.options.memory_gb) as database:
        rule_filter = RuleFilter(database, build.rules)
        _account_for_single_rows(rule_filter, reviews)
        rule_filter.apply(
            columns_of(destination.work("reviews"), reviews, REVIEW_COLUMNS),
            columns_of(destination.work("meta"), meta, ITEM_COLUMNS),
        )
        kept = rule_filter.drops[-1].left
        say(f"rules: {kept:,} reviews left, {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        items = write_catalogue(runner, database, destination, say)
        place_reviews(database, build.options.reviews_per_part)
        folders = ShuffleFolders(*(destination.work(name) for name in ("reviews", "routes", "routed")))
        plan = plan_shuffle(database, folders)
    splits = _write_splits(runner, plan, build.rules, destination, say)
    say(f"writing: {len(plan.gatherings):,} parts of users, {time.monotonic() - began:.1f} s")
    return {
        "drops": [drop._asdict() for drop in rule_filter.drops],
        "duplicate_items": rule_filter.duplicate_items,
        "items": items,
        "reviews": kept,
        "splits": {name: figures.to_json() for name, figures in splits.items()},
    }


def _account_for_single_rows(rule_filter: RuleFilter, reviews: Sequence[ChunkFacts]) -> None:
    """Account for the rules that looked at single rows."""
    left = sum(chunk.rows for chunk in reviews)
    dropped = {rules.BAD_ROW: sum(chunk.bad for chunk in reviews)}
    for rule in (rules.NO_TITLE, rules.NO_NUMBERS, rules.SHORT_REVIEW):
        dropped[rule] = sum(chunk.dropped.get(rule, 0) for chunk in reviews)
    for rule, count in dropped.items():
        left -= count
        rule_filter.account_for(rule, count, left)


def _write_splits(
    runner: TaskRunner, plan: ShufflePlan, settings: Rules, destination: Destination, say: Say
) -> dict[str, SplitFigures]:
    """Write the users of every split that has inputs; the figures of those splits."""
    splits = [name for name, inputs in settings.splits.items() if inputs]
    done = finished_parts(destination, [destination.users(split) for split in splits])
    write = partial(_write_users, destination=destination, settings=settings)
    parts = shuffle(runner, plan, done, write, Progress("Writing users", say))
    for split in settings.splits:
        delete_others(destination.users(split), set(parts) if split in splits else set())
    return {
        name: SplitFigures.sum(SplitFigures.from_json(footer["splits"][name]) for footer in parts.values())
        for name in splits
    }


def _write_users(name: str, reviews: pa.Table, destination: Destination, settings: Rules) -> Footer:
    """Write a part of the users of every split."""
    users_of_splits = split_users(reviews, settings)
    figures = {split: SplitFigures.of(users).to_json() for split, users in users_of_splits.items()}
    footer = {"fingerprint": destination.fingerprint, "splits": figures}
    for split, users in users_of_splits.items():
        write_with_footer(destination.users(split), name, users, footer)
    return footer
