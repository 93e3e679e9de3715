"""A seeded sample of a job's users, with all that their prompts are made of.

What needs the embedding model is stood in for: texts are grouped by the letters that they have in common, so that a
user's representatives are other reviews of the same item than the run will choose, of about the same lengths.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.config import Config
from drp_ray.engines.embedder import text_id
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.review_times import ReviewTimes, build_review_times
from drp_ray.planning.census import Census, Counts
from drp_ray.schema import Row
from drp_ray.stages.comparisons import compare_item
from drp_ray.stages.items import item_row
from drp_ray.stages.retrieval import retrieve

REVIEWS_OF_AN_ITEM = 100
"""Reviews of an item among which representatives are looked for here; a run looks among all."""

WIDTH = 256
"""Numbers in a vector that stands in for an embedding."""

STARTS = 1
"""Starts of K-means here, where nothing hangs on the best grouping."""


@dataclass(frozen=True)
class SampledUsers:
    """The sample: users (rows of `schema.USERS`), what was retrieved for them, and their comparisons.

    `places` are the users' places in the census. `comparisons` are in the order of items, and `before` has for each
    (user, item) the comparisons of up to two users who come before on the same item: the prefix that they share is in
    the engine's cache then. `reviews` has what others wrote about the items of the sample, by item.
    """

    users: list[Row]
    places: Counts
    history: Mapping[str, list[int]]
    comparisons: list[Row]
    before: Mapping[tuple[str, str], list[Row]]
    reviews: Mapping[str, list[Row]]
    catalogue: pa.Table


def draw_places(census: Census, size: int, seed: int) -> Counts:
    """The places of the users with the smallest hashes, in proportion of each kind, and two of every kind at least."""
    strata = census.strata
    chosen: list[int] = []
    for kind in np.unique(strata):
        places = np.flatnonzero(strata == kind)
        share = max(math.ceil(size * len(places) / len(strata)), 2)
        keys = sorted((_hash(seed, census.user_ids[place]), int(place)) for place in places)
        chosen += [place for _, place in keys[:share]]
    return np.array(sorted(chosen), np.int64)


def sample_users(dataset: Dataset, census: Census, config: Config, places: Counts) -> SampledUsers:
    """Read the users at some places of the census, and make what the stages before the models would make for them."""
    users = _read_users(dataset, census, places)
    found = _retrieved(users, dataset, census.catalogue, config)
    wanted = {user["profile"][place]["item_id"] for user in users for place in found[user["user_id"]].eligible}
    targets = {user["target"]["item_id"] for user in users}
    reviews = _reviews_of(dataset, sorted(wanted | targets))
    requests = _requests(users, found)
    pairs, before = _compared(requests, reviews, census, config)
    history = {user_id: each.history for user_id, each in found.items()}
    return SampledUsers(users, places, history, pairs, before, reviews, census.catalogue)


def _read_users(dataset: Dataset, census: Census, places: Counts) -> list[Row]:
    users, first = [], 0
    for group, rows in census.rows:
        inside = places[(places >= first) & (places < first + len(rows))] - first
        if len(inside):
            users += dataset.read_users(group).take([rows[place] for place in inside]).to_pylist()
        first += len(rows)
    return users


def _retrieved(users: Iterable[Row], dataset: Dataset, catalogue: pa.Table, config: Config) -> dict[str, Any]:
    items = Catalogue(catalogue)
    times = ReviewTimes(build_review_times(dataset)) if config.selection.as_of == "target" else None
    k = config.selection.k
    return {
        user["user_id"]: retrieve(user["profile"], user["target"], items, config.retrieval, k, times) for user in users
    }


def _reviews_of(dataset: Dataset, items: Sequence[str]) -> dict[str, list[Row]]:
    """What all users of the dataset wrote about some items, by item."""
    wanted, found = pa.array(items, pa.string()), dict[str, list[Row]]()
    for group in dataset.row_groups():
        users = dataset.read_users(group)
        profiles = users["profile"].combine_chunks()
        reviews = pc.list_flatten(profiles)
        kept = pc.is_in(pc.struct_field(reviews, "item_id"), value_set=wanted)
        owners = users["user_id"].combine_chunks().take(pc.list_parent_indices(profiles)).filter(kept)
        for review, owner in zip(reviews.filter(kept).to_pylist(), owners.to_pylist(), strict=True):
            row = {**review, "user_id": owner, "text_id": text_id(review["text"])}
            found.setdefault(review["item_id"], []).append(row)
    return found


def _requests(users: Iterable[Row], found: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Who of the sample is to be compared on which item, by item."""
    requests: dict[str, list[Row]] = {}
    for user in users:
        for rank, place in enumerate(found[user["user_id"]].eligible):
            item = user["profile"][place]["item_id"]
            requests.setdefault(item, []).append(_request(user["user_id"], rank, user["target"]["timestamp"]))
    return requests


def _request(user_id: str, rank: int, timestamp: int) -> Row:
    return {"user_id": user_id, "rank": rank, "target_timestamp": timestamp}


def _compared(
    requests: Mapping[str, list[Row]], reviews: Mapping[str, list[Row]], census: Census, config: Config
) -> tuple[list[Row], dict[tuple[str, str], list[Row]]]:
    items = Catalogue(census.catalogue)
    share = _share_that_asks(census)
    strategy = "random" if config.selection.strategy == "random" else "kmeans"
    settings = config.selection.model_copy(update={"strategy": strategy, "n_init": STARTS})
    pairs, before = [], {}
    for item_id in sorted(requests):
        asking = requests[item_id]
        own = {request["user_id"] for request in asking}
        of_item = _some_of(reviews[item_id], own)
        others = _who_asks_too(of_item, own, share)
        row = item_row(items, item_id, list(map(dict, of_item)), list(map(dict, [*asking, *others])), 0, {})
        compared = compare_item(row, _vectors(of_item), settings)
        for place, pair in enumerate(compared):
            if pair["user_id"] in own:
                pairs.append(pair)
                before[pair["user_id"], item_id] = _nearest_before(compared[:place], pair)
    return pairs, before


def _some_of(reviews: list[Row], kept: set[str]) -> list[Row]:
    """At most `REVIEWS_OF_AN_ITEM` of an item's reviews, those of `kept` users among them."""
    drawn = sorted(reviews, key=lambda review: (review["user_id"] not in kept, _hash(0, review["user_id"])))
    return drawn[: max(REVIEWS_OF_AN_ITEM, len(kept))]


def _share_that_asks(census: Census) -> dict[str, float]:
    """Of every user's items the share on which they are compared."""
    shares = np.minimum(census.comparisons / np.maximum(census.profiles, 1), 1.0)
    return dict(zip(census.user_ids, shares.tolist(), strict=True))


def _who_asks_too(reviews: Iterable[Row], own: set[str], share: Mapping[str, float]) -> list[Row]:
    """Users outside the sample who are compared on an item too: drawn, with their share, where that is below one."""
    drawn = [
        review
        for review in reviews
        if review["user_id"] not in own
        and _unit_hash(review["user_id"], review["item_id"]) < share.get(review["user_id"], 0)
    ]
    newest = {review["user_id"]: review for review in sorted(drawn, key=lambda review: review["timestamp"])}
    return [_request(user_id, 0, review["timestamp"]) for user_id, review in newest.items()]


def _nearest_before(compared: Sequence[Row], pair: Row) -> list[Row]:
    """The last comparison before a pair on its item, and the last one with the same representatives."""
    same = [each for each in compared if each["cluster"] == pair["cluster"]]
    return [*compared[-1:], *(each for each in same[-1:] if each is not compared[-1])]


def _vectors(reviews: Iterable[Row]) -> dict[str, np.ndarray]:
    """A vector for every text."""
    return {review["text_id"]: stand_in_vector(review["text"]) for review in reviews}


def stand_in_vector(text: str) -> np.ndarray:
    """How often a text has three bytes in a row of each hash, as a direction: float32[`WIDTH`]."""
    codes = np.frombuffer(text.lower().encode(), np.uint8).astype(np.int64)
    hashed = (codes[:-2] * 961 + codes[1:-1] * 31 + codes[2:]) % WIDTH
    lengths = np.sqrt(np.bincount(hashed, minlength=WIDTH)).astype(np.float32)
    norm = float(np.linalg.norm(lengths))
    return lengths / norm if norm else lengths


def _hash(seed: int, user_id: str) -> bytes:
    return hashlib.sha256(f"plan\0{seed}\0{user_id}".encode()).digest()


def _unit_hash(*parts: str) -> float:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:6], "big") / 2**48
