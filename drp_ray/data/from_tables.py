"""`drp-ray data table`: other people's users and items, as rows with the right columns, into a dataset."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from drp_ray import schema
from drp_ray.data.apply_rules import FIRST_ITEMS, open_database
from drp_ray.data.build import Options
from drp_ray.data.catalogue import write_catalogue
from drp_ray.data.extract import (
    RAW_ITEMS,
    BadRows,
    ChunkFacts,
    Extraction,
    Made,
    collapsed,
    refuse_foreign,
    table_of,
)
from drp_ray.data.figures import category_of, figures_of, report_of
from drp_ray.data.formats import Milliseconds
from drp_ray.data.inputs import RawFile, changed_at, identity
from drp_ray.data.layout import Target, being_made, delete_others, finish, is_built, read_json
from drp_ray.data.tasks import Runner, RunnerOf, Say, columns_of, extract_all, on_ray
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import MANIFEST


class TableReview(msgspec.Struct):
    """A review as `schema.REVIEW` has it."""

    item_id: str
    rating: float
    text: str
    timestamp: Milliseconds
    title: str | None = None


class TableUser(msgspec.Struct):
    """A row of users."""

    user_id: str
    profile: list[TableReview]
    target: TableReview


class TableItem(msgspec.Struct):
    """A row of items."""

    item_id: str
    title: str
    description: str | None = None


@dataclass(frozen=True)
class UserMaker:
    """Makes users of rows: profiles in time order, white space collapsed."""

    @property
    def row_type(self) -> type[TableUser]:
        """A row of users."""
        return TableUser

    def make(self, rows: Iterable[tuple[int, TableUser]], bad: BadRows) -> Made:
        """A table as `schema.USERS` names it; nothing is dropped."""
        users = [
            {
                "user_id": user.user_id,
                "profile": [
                    _plain(review)
                    for review in sorted(user.profile, key=lambda review: (review.timestamp, review.item_id))
                ],
                "target": _plain(user.target),
            }
            for _, user in rows
        ]
        return Made(pa.Table.from_pylist(users, schema.USERS), {})


def _plain(review: TableReview) -> dict[str, Any]:
    words = {"title": collapsed(review.title) or None, "text": collapsed(review.text)}
    return {"item_id": review.item_id, "rating": review.rating, "timestamp": review.timestamp, **words}


@dataclass(frozen=True)
class TableItemMaker:
    """Makes items of rows."""

    @property
    def row_type(self) -> type[TableItem]:
        """A row of items."""
        return TableItem

    def make(self, rows: Iterable[tuple[int, TableItem]], bad: BadRows) -> Made:
        """A table as `RAW_ITEMS` names it; an item without a title is a bad row."""
        columns: list[tuple[Any, ...]] = []
        for line, item in rows:
            if title := collapsed(item.title):
                columns.append((line, item.item_id, None, title, collapsed(item.description) or None))
            else:
                bad.add(line, f"the title of item {item.item_id!r} is empty")
        return Made(table_of(columns, RAW_ITEMS), {})


@dataclass(frozen=True)
class TableBuild:
    """A dataset to be made of rows that are users and items already."""

    users: Sequence[RawFile]
    items: Sequence[RawFile]
    out: Folder
    options: Options

    @property
    def target(self) -> Target:
        """The dataset's folder, and what it will hold: a part a chunk, so the chunks' size belongs to it."""
        made_from = {
            "kind": "table",
            "users": [identity(file) for file in self.users],
            "items": [identity(file) for file in self.items],
            "allow_truncated": self.options.allow_truncated,
            "chunk_bytes": self.options.chunk_bytes,
        }
        state = {"files": [[file.uri, changed_at(file)] for file in (*self.users, *self.items)]}
        return Target(self.out, made_from, state)


def build_from_tables(job: TableBuild, say: Say, runner_of: RunnerOf = on_ray) -> str:
    """Make `test/users` and `items` unless they are there; the table that describes them.

    Raises:
        BadInput: the files are not what they should be, or the dataset is not one that a job accepts.
        JobFailed: another process makes a dataset there.
    """
    target = job.target
    if is_built(target):
        say(f"Nothing to do: {target.out.uri} is complete.")
        return report_of(read_json(target.out, MANIFEST) or {})
    options = job.options
    users = Extraction(job.users, UserMaker(), target.users("test"), options.chunk_bytes, options.allow_truncated)
    items = Extraction(job.items, TableItemMaker(), target.work("meta"), options.chunk_bytes, options.allow_truncated)
    for extraction in (users, items):
        refuse_foreign(extraction)
    with being_made(target, say) as check, runner_of(options.num_cpus) as runner:
        item_facts = extract_all(runner, items, "items", options.max_bad_rows, say)
        user_facts = extract_all(runner, users, "users", options.max_bad_rows, say)
        delete_others(target.users("test"), {chunk.name for chunk in user_facts})
        manifest = describe_made(runner, target, "test", item_facts, options, say)
        manifest |= {
            "category": category_of(file.name for file in job.users),
            "truncated": [job.users[chunk.file].name for chunk in user_facts if chunk.is_truncated],
        }
        check()
        table = report_of(manifest)
        finish(target, manifest, table)
    return table


def describe_made(
    runner: Runner, target: Target, split: str, items: Sequence[ChunkFacts], options: Options, say: Say
) -> dict[str, Any]:
    """Write the catalogue, the first entry of every item, check the dataset, and say what the manifest holds.

    Raises:
        BadInput: the dataset is not one that a job accepts.
    """
    with (
        tempfile.TemporaryDirectory(prefix="drp-ray-", dir=options.scratch) as scratch,
        open_database(Path(scratch), options.memory_gb) as database,
    ):
        database.execute("create table raw_items (row_id bigint, item_id varchar, problem varchar)")
        for batch in columns_of(target.work("meta"), items, ["row_id", "item_id", "problem"]):
            database.register("batch", batch)
            database.execute("insert into raw_items select row_id, item_id, problem from batch")
        database.execute(FIRST_ITEMS)
        database.execute("create table catalogue as select item, first_row as row_id from items")
        written = write_catalogue(runner, database, target, say)
    dataset = Dataset(target.out.at(split), target.users(split), target.items)
    if split != "train":  # where a user has a row for every input
        check_dataset(dataset)
    return {
        "drops": [],
        "duplicate_items": sum(chunk.kept for chunk in items) - written,
        "items": written,
        "reviews": None,
        "splits": {split: figures_of(dataset).to_json()},
    }
