"""`drp-ray data table`: tables that have users and items as rows already, into a dataset."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from drp_ray import schema
from drp_ray.data.apply_rules import CREATE_RAW_ITEMS, ITEM_COLUMNS, NUMBER_ITEMS
from drp_ray.data.build_options import BuildOptions
from drp_ray.data.database import insert_rows, open_database
from drp_ray.data.extract import ChunkFacts, Extraction, check_first_rows, columns_of, extract_all, truncated_files
from drp_ray.data.figures import category_of, figures_of
from drp_ray.data.formats import Milliseconds
from drp_ray.data.layout import Destination, being_made, delete_others, mark_complete, table_if_complete
from drp_ray.data.raw_files import RawFile
from drp_ray.data.row_rules import RAW_ITEMS, BadRows, Made, collapsed, table_of
from drp_ray.data.task_runner import OpenRunner, TaskRunner, on_ray
from drp_ray.data.write_catalogue import write_catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.running.cluster import Say
from drp_ray.storage.folder import Folder


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
                "profile": [_plain(review) for review in sorted(user.profile, key=attrgetter("timestamp", "item_id"))],
                "target": _plain(user.target),
            }
            for _, user in rows
        ]
        return Made(pa.Table.from_pylist(users, schema.USERS), {})


def _plain(review: TableReview) -> dict[str, str | float | None]:
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
        made: list[tuple[object, ...]] = []
        for line, item in rows:
            if title := collapsed(item.title):
                made.append((line, item.item_id, None, title, collapsed(item.description) or None))
            else:
                bad.add(line, f"the title of item {item.item_id!r} is empty")
        return Made(table_of(made, RAW_ITEMS), {})


@dataclass(frozen=True)
class TableBuild:
    """A dataset to be made of tables of users and of items."""

    users: Sequence[RawFile]
    items: Sequence[RawFile]
    out: Folder
    options: BuildOptions

    @property
    def destination(self) -> Destination:
        """The dataset's folder, and what it will hold: a part a chunk, so `chunk_bytes` decides about the parts."""
        made_from = {
            "kind": "table",
            "users": [file.identity() for file in self.users],
            "items": [file.identity() for file in self.items],
            "allow_truncated": self.options.allow_truncated,
            "chunk_bytes": self.options.chunk_bytes,
        }
        state = {"files": [[file.uri, file.changed_at()] for file in (*self.users, *self.items)]}
        return Destination(self.out, made_from, state)


def build_from_tables(build: TableBuild, say: Say, open_runner: OpenRunner = on_ray) -> str:
    """Make `test/users` and `items` unless they are there; the table that describes them.

    Raises:
        BadInput: the files are not what they should be, or the dataset is not one that a job accepts.
        JobFailed: another process makes a dataset there.
    """
    destination, options = build.destination, build.options
    if (table := table_if_complete(destination, say)) is not None:
        return table
    reading = options.chunk_bytes, options.allow_truncated
    users = Extraction(build.users, UserMaker(), destination.users("test"), *reading)
    items = Extraction(build.items, TableItemMaker(), destination.work("meta"), *reading)
    check_first_rows(users)
    check_first_rows(items)
    with being_made(destination, say) as check, open_runner(options.num_cpus) as runner:
        item_facts = extract_all(runner, items, "items", options.max_bad_rows, say)
        user_facts = extract_all(runner, users, "users", options.max_bad_rows, say)
        delete_others(destination.users("test"), {chunk.name for chunk in user_facts})
        manifest = write_items_and_check(runner, destination, "test", item_facts, options, say)
        check()
        category = category_of(file.name for file in build.users)
        truncated = truncated_files(build.users, user_facts)
        return mark_complete(destination, {**manifest, "category": category, "truncated": truncated})


def write_items_and_check(
    runner: TaskRunner,
    destination: Destination,
    split: str,
    items: Sequence[ChunkFacts],
    options: BuildOptions,
    say: Say,
) -> dict[str, Any]:
    """Write the catalogue, of every item the first entry, and check the dataset; what the manifest says of it.

    Raises:
        BadInput: the dataset is not one that a job accepts.
    """
    with open_database(options.scratch, options.memory_gb) as database:
        database.execute(CREATE_RAW_ITEMS)
        for batch in columns_of(destination.work("meta"), items, ITEM_COLUMNS):
            insert_rows(database, "raw_items", batch)
        database.execute(NUMBER_ITEMS)
        database.execute("create table catalogue as select item, first_row as row_id from items")
        n_items = write_catalogue(runner, database, destination, say)
    dataset = Dataset(destination.out.at(split), destination.users(split), destination.items)
    if split != "train":  # where a user has a row for every input
        check_dataset(dataset)
    return {
        "drops": [],
        "duplicate_items": sum(chunk.kept for chunk in items) - n_items,
        "items": n_items,
        "reviews": None,
        "splits": {split: figures_of(dataset).to_json()},
    }
