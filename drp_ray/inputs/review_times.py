"""When every item was reviewed, for jobs that must not look beyond a target's time (`selection.as_of: target`)."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.inputs.catalogue import row_of
from drp_ray.inputs.dataset import Dataset


@dataclass(frozen=True)
class ReviewTimes:
    """The time of every reviewer's newest review, by item. `table` is sorted by item and shared like the catalogue."""

    table: pa.Table

    def reviewers_until(self, item_id: str, timestamp: int) -> int:
        """How many users have their newest review of an item no later than `timestamp` (ms).

        Raises:
            KeyError: nobody reviewed the item.
        """
        times = self.table["times"].chunk(0)[row_of(self.table, item_id)].values
        return int(np.searchsorted(times.to_numpy(), timestamp, side="right"))


def build_review_times(dataset: Dataset) -> pa.Table:
    """One row an item that somebody reviewed, sorted: `item_id`, and `times` list<int64> (ms), the earliest first."""
    newest = pa.concat_tables([_newest_reviews(dataset.read_users(group)) for group in dataset.row_groups()])
    newest = newest.sort_by([("item_id", "ascending"), ("timestamp", "ascending")]).combine_chunks()
    items = newest.group_by("item_id", use_threads=False).aggregate([("timestamp", "list")])
    return items.rename_columns({"timestamp_list": "times"}).sort_by("item_id").combine_chunks()


def _newest_reviews(users: pa.Table) -> pa.Table:
    profiles = users["profile"].combine_chunks()
    reviews = pc.list_flatten(profiles)
    pairs = pa.table(
        {
            "user": pc.list_parent_indices(profiles),
            "item_id": pc.struct_field(reviews, "item_id"),
            "timestamp": pc.struct_field(reviews, "timestamp"),
        }
    )
    newest = pairs.group_by(["user", "item_id"]).aggregate([("timestamp", "max")])
    return newest.select(["item_id", "timestamp_max"]).rename_columns(["item_id", "timestamp"])
