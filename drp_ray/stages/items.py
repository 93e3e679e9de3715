"""items: regroup reviews by item, for the items on which a user is to be compared with others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray import schema
from drp_ray.engines.embedder import text_id
from drp_ray.inputs.catalogue import Catalogue, Items
from drp_ray.inputs.dataset import Dataset, RowGroup
from drp_ray.running.blocks import one_block_each
from drp_ray.running.part_outcomes import committed_table
from drp_ray.running.regrouping import in_few_tasks, shuffle_partitions
from drp_ray.stages.stage import Stage, StageContext, after, for_need
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import commit_part, part_name, read_manifest, read_part

Table = Any
"""A pa.Table, or Ray's reference to one."""


@dataclass(frozen=True)
class ItemParts:
    """Every requested item with the reviews of all its reviewers and the users who asked.

    Items go into parts in id order, cut where a part has `rows_per_part` requests: a request becomes a row of
    `comparisons` and `differences`, so parts are of equal work. An item is never split.
    """

    dataset: Dataset
    users: Folder
    retrieved: Folder
    catalogue: Table
    rows_per_part: int

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """Find the requests, explode the profiles of requested items, shuffle by part, write."""
        requests = self._requests()
        n_parts = ray.get(count_parts.remote(requests))
        if n_parts == 0:
            return None
        reviews = self._reviews(requests).materialize()
        arguments = {
            "requests": requests,
            "catalogue": self.catalogue,
            "owners": find_owners.remote(*reviews.select_columns(["text_id", "part"]).to_arrow_refs()),
            "folder": folder,
        }
        grouped = reviews.groupby("part", num_partitions=shuffle_partitions(n_parts))
        return grouped.map_groups(write_item_part, batch_format="pyarrow", fn_kwargs=arguments)

    def _requests(self) -> Table:
        manifest = read_manifest(self.retrieved)
        names = [{"part": entry.name} for entry in manifest.parts] if manifest else []
        found = in_few_tasks(names, requests_of_parts, {"users": self.users, "retrieved": self.retrieved})
        return assign_parts.remote(self.rows_per_part, *found.to_arrow_refs())

    def _reviews(self, requests: Table) -> ray.data.Dataset:
        groups = [{"file": group.file, "index": group.index, "rows": group.rows} for group in self.dataset.row_groups()]
        return one_block_each(groups).map_batches(
            explode_profiles,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={"dataset": self.dataset, "requests": requests},
        )


REQUESTS = pa.schema(
    [
        ("item_id", pa.string()),
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("target_timestamp", pa.int64()),
    ]
)


def requests_of_parts(batch: pa.Table, users: Folder, retrieved: Folder) -> pa.Table:
    """The (item, user, rank) of every eligible review of some parts' users."""
    return pa.concat_tables([_requests_of(name, users, retrieved) for name in batch["part"].to_pylist()])


def _requests_of(name: str, users: Folder, retrieved: Folder) -> pa.Table:
    profiles = read_part(users, name).rows
    positions = {row["user_id"]: row["eligible"] for row in read_part(retrieved, name).rows.to_pylist()}
    return pa.Table.from_pylist(
        [
            {
                "item_id": user["profile"][position]["item_id"],
                "user_id": user["user_id"],
                "rank": rank,
                "target_timestamp": user["target"]["timestamp"],
            }
            for user in profiles.to_pylist()
            for rank, position in enumerate(positions[user["user_id"]])
        ],
        REQUESTS,
    )


@ray.remote(num_cpus=1)
def assign_parts(rows_per_part: int, *requests: pa.Table) -> pa.Table:
    """Give every requested item a part: items in id order, a new part where the last has enough requests."""
    table = pa.concat_tables([*requests, REQUESTS.empty_table()]).sort_by(
        [("item_id", "ascending"), ("user_id", "ascending")]
    )
    parts, part, in_part, last = [], -1, rows_per_part, None
    for item_id in table["item_id"].to_pylist():
        if item_id != last and in_part >= rows_per_part:
            part, in_part = part + 1, 0
        parts.append(part)
        in_part, last = in_part + 1, item_id
    return table.append_column("part", pa.array(parts, pa.int32())).combine_chunks()


@ray.remote(num_cpus=1)
def count_parts(requests: pa.Table) -> int:
    """How many parts there are to be."""
    return requests["part"][-1].as_py() + 1 if requests.num_rows else 0


def explode_profiles(batch: pa.Table, dataset: Dataset, requests: Table) -> pa.Table:
    """One row a review of a requested item, with the item's part and the text's id."""
    wanted = ray.get(requests).group_by("item_id").aggregate([("part", "min")]).combine_chunks()
    users = dataset.read_users(RowGroup(**batch.to_pylist()[0]))
    profiles = users["profile"].combine_chunks()
    reviews = pc.list_flatten(profiles)
    found = pc.index_in(pc.struct_field(reviews, "item_id"), wanted["item_id"].combine_chunks())
    kept = pc.is_valid(found)
    columns = {name: pc.struct_field(reviews, name).filter(kept) for name in schema.REVIEW.names}
    columns["user_id"] = users["user_id"].combine_chunks().take(pc.list_parent_indices(profiles)).filter(kept)
    columns["part"] = wanted["part_min"].combine_chunks().take(found.filter(kept))
    columns["text_id"] = pa.array([text_id(text) for text in columns["text"].to_pylist()], pa.string())
    return pa.table(columns)


@ray.remote(num_cpus=1)
def find_owners(*reviews: pa.Table) -> pa.Table:
    """For every text that several parts hold, the first of them: that part embeds it for all.

    A text so is embedded once, however many items and users it belongs to.
    """
    pairs = pa.concat_tables(reviews).group_by(["text_id", "part"]).aggregate([])
    texts = pairs.group_by("text_id").aggregate([("part", "min"), ("part", "count")])
    return texts.filter(pc.greater(texts["part_count"], 1)).select(["text_id", "part_min"]).combine_chunks()


def write_item_part(reviews: pa.Table, requests: Table, catalogue: Table, owners: Table, folder: Folder) -> pa.Table:
    """Write the part that a group of reviews belongs to."""
    part = reviews["part"][0].as_py()
    asked = ray.get(requests)
    asked = asked.filter(pc.equal(asked["part"], part)).drop_columns("part")
    shared = owners_of(reviews["text_id"], ray.get(owners))
    reviews_of, requests_of = _by_item(reviews), _by_item(asked)
    items = Catalogue(ray.get(catalogue)).of(requests_of)
    rows = [
        item_row(items, item_id, reviews_of[item_id], requests_of[item_id], part, shared)
        for item_id in sorted(requests_of)
    ]
    facts = {
        "requests": asked.num_rows,
        "texts": len({review["text_id"] for row in rows for review in row["reviews"] if review["embedded_in"] == part}),
    }
    committed = commit_part(folder, part_name(part), pa.Table.from_pylist(rows, schema.ITEMS), facts, "")
    return committed_table(committed)


def owners_of(text_ids: pa.ChunkedArray, owners: pa.Table) -> dict[str, int]:
    """The parts that embed texts which several parts hold, for those among `text_ids`."""
    found = owners.filter(pc.is_in(owners["text_id"], value_set=text_ids.combine_chunks()))
    return dict(zip(*(column.to_pylist() for column in found.columns), strict=True))


def _by_item(rows: pa.Table) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        groups.setdefault(row["item_id"], []).append(row)
    return groups


def item_row(
    items: Items,
    item_id: str,
    reviews: list[dict[str, Any]],
    requests: list[dict[str, Any]],
    part: int,
    shared: Mapping[str, int],
) -> dict[str, Any]:
    """One row of `schema.ITEMS`: the newest review of every reviewer, and who asked."""
    item = items[item_id]
    newest: dict[str, dict[str, Any]] = {}
    for review in sorted(reviews, key=lambda review: (review["user_id"], review["timestamp"], review["text"])):
        newest[review["user_id"]] = {**review, "embedded_in": shared.get(review["text_id"], part)}
    return {
        "item_id": item_id,
        "title": item.title,
        "description": item.description,
        "reviews": list(newest.values()),
        "requested_by": sorted(requests, key=lambda request: request["user_id"]),
    }


def vectors_by_text(embeddings: pa.Table) -> dict[str, np.ndarray]:
    """The rows of an `embeddings` part as a mapping: text id to float32[d]."""
    lists = embeddings["vector"].combine_chunks()
    width = len(lists[0]) if len(lists) else 0
    matrix = lists.flatten().to_numpy().reshape(-1, width) if width else np.empty((0, 0), np.float32)
    return dict(zip(embeddings["text_id"].to_pylist(), matrix, strict=True))


def _make(context: StageContext) -> ItemParts:
    return ItemParts(
        context.dataset,
        context.folders["users"],
        context.folders["retrieved"],
        context.catalogue(),
        context.config.runtime.rows_per_part,
    )


ITEMS = Stage(
    "items",
    version=1,
    inputs=after("users", "retrieved"),
    make=_make,
    is_needed=for_need("items"),
    reads_dataset=True,
)
