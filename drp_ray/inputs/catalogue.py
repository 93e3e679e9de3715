"""The items of a dataset, sorted by id and with the number of their reviewers, for workers to look up."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray import schema
from drp_ray.inputs.dataset import Dataset


@dataclass(frozen=True)
class Item:
    """An item, and how many users of the dataset have it in their profile."""

    item_id: str
    title: str
    description: str | None
    reviewers: int


@dataclass(frozen=True)
class Catalogue:
    """Items by id. A `table` from Ray's object store is in shared memory; it is searched there, without a copy."""

    table: pa.Table

    def __getitem__(self, item_id: str) -> Item:
        """Find an item by bisection.

        Raises:
            KeyError: there is no such item.
        """
        return self.of([item_id])[item_id]

    def of(self, item_ids: Iterable[str]) -> dict[str, Item]:
        """Find many items, each once however often it is named: to copy rows together costs less than one by one.

        Raises:
            KeyError: there is no such item.
        """
        names = list(dict.fromkeys(item_ids))
        found = self.table.take(pa.array([row_of(self.table, name) for name in names], pa.int64()))
        return {name: Item(**row) for name, row in zip(names, found.to_pylist(), strict=True)}


Items = Catalogue | Mapping[str, Item]
"""Items to look up: all of a dataset, or those that were found together."""


def row_of(table: pa.Table, item_id: str) -> int:
    """The row of an item in a table that is sorted by `item_id`, in one piece.

    Raises:
        KeyError: there is no such item.
    """
    ids = table["item_id"].chunk(0)
    row = bisect_left(range(len(ids)), item_id, key=lambda index: ids[index].as_py())
    if row == len(ids) or ids[row].as_py() != item_id:
        raise KeyError(item_id)
    return row


def build_catalogue(dataset: Dataset) -> pa.Table:
    """The title, the description and the number of reviewers of each item in a profile or a target, sorted by id."""
    counts = _count_reviewers(dataset)
    targets = pa.concat_tables(
        [pa.table({"item_id": dataset.read_target_items(group)}) for group in dataset.row_groups()]
    )
    wanted = pa.array(sorted({*counts["item_id"].to_pylist(), *targets["item_id"].to_pylist()}), pa.string())
    items = pa.concat_tables(
        [rows.filter(pc.is_in(rows["item_id"], value_set=wanted)) for rows in dataset.read_catalogue()]
    )
    rows_of_counts = pc.index_in(items["item_id"], value_set=counts["item_id"].combine_chunks())
    reviewers = pc.fill_null(counts["reviewers"].combine_chunks().take(rows_of_counts), 0)  # items of targets only
    return (
        items.select(schema.CATALOGUE.names).append_column("reviewers", reviewers).sort_by("item_id").combine_chunks()
    )


def _count_reviewers(dataset: Dataset) -> pa.Table:
    pieces = [
        dataset.read_profile_items(group).group_by("item_id").aggregate([("user", "count")])
        for group in dataset.row_groups()
    ]
    counts = pa.concat_tables(pieces).group_by("item_id").aggregate([("user_count", "sum")])
    return counts.rename_columns({"user_count_sum": "reviewers"})
