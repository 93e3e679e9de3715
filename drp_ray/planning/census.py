"""Counts over all users of a job: what decides how many calls there are, found without reading the texts."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from drp_ray.config import Config
from drp_ray.inputs.catalogue import build_catalogue
from drp_ray.inputs.chosen_users import ChosenRows, chosen_rows
from drp_ray.inputs.dataset import Dataset, RowGroup
from drp_ray.inputs.review_times import build_review_times

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Census:
    """The users that a job predicts for, in the dataset's order.

    `comparisons` has for each of them on how many items they are compared with others, `profiles` how many past reviews
    they have. `catalogue` is that of `build_catalogue`; `texts_to_embed` is the most that there can be: all reviews of
    the items on which they may be compared.
    """

    rows: ChosenRows
    user_ids: list[str]
    comparisons: Counts
    profiles: Counts
    catalogue: pa.Table
    texts_to_embed: int

    @property
    def strata(self) -> Counts:
        """The kind of each user, as far as it decides which method writes: 2 compared, 1 with past reviews, 0 without.

        Users of a kind make the same calls, so that calls are counted by kind.
        """
        return np.where(self.comparisons > 0, 2, np.where(self.profiles > 0, 1, 0)).astype(np.int64)


def take_census(dataset: Dataset, config: Config) -> Census:
    """Count what the users of a job have."""
    rows, catalogue = chosen_rows(dataset, config.users), build_catalogue(dataset)
    times = _SortedTimes.of(build_review_times(dataset)) if config.selection.as_of == "target" else None
    ids: list[str] = []
    eligible, profiles = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    compared_on = [pa.array([], pa.string())]
    for group, chosen in rows:
        users = dataset.read_users(group) if times else None
        ids += _ids(dataset, group, chosen)
        pairs = dataset.read_profile_items(group)
        found = _eligible_by_time(users, times, config.selection.k) if times else _eligible(pairs, catalogue, config)
        wanted = np.asarray(chosen)
        eligible.append(np.bincount(found.users, minlength=group.rows)[wanted])
        compared_on.append(found.items.filter(np.isin(found.users, wanted)).unique())
        profiles.append(np.bincount(pairs["user"].to_numpy(), minlength=group.rows)[wanted])
    comparisons = np.minimum(np.concatenate(eligible), config.retrieval.n)
    texts = catalogue.filter(pc.is_in(catalogue["item_id"], value_set=pa.concat_arrays(compared_on)))["reviewers"]
    return Census(rows, ids, comparisons, np.concatenate(profiles), catalogue, int(texts.to_numpy().sum()))


def _ids(dataset: Dataset, group: RowGroup, rows: list[int]) -> list[str]:
    ids = dataset.read_user_ids(group)
    return [ids[row] for row in rows]


class _Eligible(NamedTuple):
    """Items on which users of a row group may be compared: the user (row in the group) and the item of each."""

    users: Counts
    items: pa.Array


def _eligible(pairs: pa.Table, catalogue: pa.Table, config: Config) -> _Eligible:
    """The items in profiles that enough others have reviewed."""
    place = pc.index_in(pairs["item_id"], value_set=catalogue["item_id"].combine_chunks())
    reviewers = catalogue["reviewers"].combine_chunks().take(place.combine_chunks())
    enough = pc.greater_equal(reviewers, config.selection.k + 1)
    kept = pairs.filter(enough).combine_chunks()
    return _Eligible(kept["user"].to_numpy(), kept["item_id"].combine_chunks())


@dataclass(frozen=True)
class _SortedTimes:
    """When each item was reviewed, as one sorted array: `keys` are item and time as a single number."""

    items: pa.Array
    moments: Counts
    keys: Counts

    @classmethod
    def of(cls, table: pa.Table) -> "_SortedTimes":
        lists = table["times"].combine_chunks()
        times = lists.flatten().to_numpy()
        moments = np.unique(times)
        keys = lists.value_parent_indices().to_numpy() * (len(moments) + 1) + np.searchsorted(moments, times) + 1
        return cls(table["item_id"].combine_chunks(), moments, np.sort(keys))

    def reviewers_until(self, items: pa.Array, timestamps: Counts) -> Counts:
        """How many have reviewed each item no later than a time (ms)."""
        first = pc.index_in(items, value_set=self.items).to_numpy() * (len(self.moments) + 1)
        last = first + np.searchsorted(self.moments, timestamps, side="right")
        counts: Counts = np.searchsorted(self.keys, last, side="right") - np.searchsorted(self.keys, first)
        return counts


def _eligible_by_time(users: pa.Table, times: _SortedTimes, k: int) -> _Eligible:
    """The same where only reviews until the target (or the user's own, if that is later) count."""
    profiles = users["profile"].combine_chunks()
    owner, reviews = pc.list_parent_indices(profiles), pc.list_flatten(profiles)
    columns = {name: pc.struct_field(reviews, name) for name in ("item_id", "timestamp")}
    newest = pa.table({"user": owner, **columns}).group_by(["user", "item_id"]).aggregate([("timestamp", "max")])
    newest = newest.combine_chunks()
    user = newest["user"].to_numpy()
    targets = pc.struct_field(users["target"].combine_chunks(), "timestamp").to_numpy()
    until = np.maximum(targets[user], newest["timestamp_max"].to_numpy())
    items = newest["item_id"].combine_chunks()
    enough = times.reviewers_until(items, until) > k
    return _Eligible(user[enough], items.filter(enough))
