"""comparisons: whom a user is compared with, on every item that was requested for the user."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray import schema
from drp_ray.config import Selection
from drp_ray.running.worker import Key, Worker
from drp_ray.schema import Row
from drp_ray.stages.items import vectors_by_text
from drp_ray.stages.stage import Stage, after, for_need
from drp_ray.stages.strategies.base import Chosen, find_strategy
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, part_name, read_part


def comparison_facts(rows: pa.Table) -> Facts:
    """How many representatives wrote after the target: none with `selection.as_of: target`."""
    lists = rows["representatives"].combine_chunks()
    written = pc.struct_field(pc.list_flatten(lists), "timestamp")
    targets = rows["target_timestamp"].combine_chunks().take(pc.list_parent_indices(lists))
    return {"later_representatives": pc.sum(pc.greater(written, targets), min_count=0).as_py()}


@dataclass
class Compare(Worker):
    """Clusters each item's reviews once and serves all users who asked."""

    embeddings: Folder
    settings: Selection
    schema = schema.COMPARISONS
    keys = ("user_id", "item_id")

    def asked(self, part: str, rows: pa.Table) -> Iterable[Key]:
        """Every (user, item) of the requests."""
        return [
            (request["user_id"], item["item_id"])
            for item in rows.select(["item_id", "requested_by"]).to_pylist()
            for request in item["requested_by"]
        ]

    def facts(self, rows: pa.Table) -> Facts:
        """How many representatives wrote after the target: none with `selection.as_of: target`."""
        return comparison_facts(rows)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Items in, (user, item) pairs out; the pairs of an item stay neighbours."""
        items = rows.to_pylist()
        vectors = await self._vectors(items)
        pairs = [pair for item in items for pair in compare_item(item, vectors, self.settings)]
        return pa.Table.from_pylist(pairs, schema.COMPARISONS)

    async def _vectors(self, items: list[Row]) -> dict[str, np.ndarray]:
        numbers = sorted({review["embedded_in"] for item in items for review in item["reviews"]})
        parts = await asyncio.gather(
            *(asyncio.to_thread(read_part, self.embeddings, part_name(number)) for number in numbers)
        )
        return {name: vector for part in parts for name, vector in vectors_by_text(part.rows).items()}


def compare_item(item: Row, vectors: Mapping[str, np.ndarray], settings: Selection) -> list[Row]:
    """The comparisons of one item, in the order of its requests."""
    reviews = item["reviews"]
    position_of = {review["user_id"]: position for position, review in enumerate(reviews)}
    choose_among: dict[int | None, tuple[list[Row], dict[str, int], Any]] = {}
    pairs = []
    for request in item["requested_by"]:
        own = reviews[position_of[request["user_id"]]]
        # A user's own review counts even where the data puts it after the target.
        latest = max(request["target_timestamp"], own["timestamp"])
        cut_off = latest if settings.as_of == "target" else None
        if cut_off not in choose_among:
            seen = [review for review in reviews if cut_off is None or review["timestamp"] <= cut_off]
            place_of = {review["user_id"]: place for place, review in enumerate(seen)}
            choose = find_strategy(settings.strategy)(item["item_id"], seen, vectors, settings)
            choose_among[cut_off] = seen, place_of, choose
        seen, place_of, choose = choose_among[cut_off]
        pairs.append(_pair(item, request, own, seen, choose(place_of[own["user_id"]])))
    return pairs


def _pair(item: Row, request: Row, own: Row, reviews: list[Row], chosen: Chosen) -> Row:
    return {
        "user_id": request["user_id"],
        "item_id": item["item_id"],
        "rank": request["rank"],
        "review": {**own, "item_id": item["item_id"]},
        "title": item["title"],
        "description": item["description"],
        "cluster": chosen.cluster,
        "representatives": [
            {**reviews[representative.position], "cluster": representative.cluster}
            for representative in chosen.representatives
        ],
        "target_timestamp": request["target_timestamp"],
    }


COMPARISONS = Stage(
    "comparisons",
    version=3,
    inputs=after("items", "embeddings"),
    settings=lambda spec: spec.config.selection.model_dump(mode="json"),
    make=lambda context: Compare(context.folders["embeddings"], context.config.selection),
    is_needed=for_need("comparisons"),
    expected_rows="requests",
)
