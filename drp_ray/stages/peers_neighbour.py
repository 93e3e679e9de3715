"""How persona-db finds the most similar other user: the nearest by cosine of mean review embeddings, exactly.

The embeddings are those that were made for the comparisons, so a user's mean is over the reviews of requested
items: in a full run nearly all of them. Neighbours are looked for among all users of the dataset.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray import schema
from drp_ray.config import Config, Retrieval
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.running.blocks import one_block_each
from drp_ray.running.regrouping import concatenated, shuffle_partitions
from drp_ray.stages.items import vectors_by_text
from drp_ray.stages.peers import FINDERS, FOUND, PeerFinder
from drp_ray.stages.retrieval import retrieve
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import part_name, part_names, read_part

BLOCK = 1024
"""Users whose similarities to all others are computed at once."""

ROUNDING = 1e-6
"""Similarities this near to each other are equal: a product is rounded otherwise in a block of another size."""

VECTORS = pa.schema(
    [
        ("bucket", pa.int32()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("vector", pa.list_(pa.float32())),
    ]
)
MEANS = pa.schema([("user_id", pa.string()), ("vector", pa.list_(pa.float32()))])
QUERY = pa.struct([field for field in schema.REVIEW if field.name != "text"])
"""A target without what is to be written."""

WANTED = pa.schema([("part", pa.int32()), ("user_id", pa.string()), ("neighbour", pa.string()), ("target", QUERY)])


@dataclass(frozen=True)
class Neighbour:
    """Looks for the N reviews of the nearest other user that matter most for the target."""

    users: Folder
    items: Folder
    embeddings: Folder
    catalogue: Any
    settings: Retrieval
    as_of: str

    @property
    def reviews_a_user(self) -> int:
        """N."""
        return self.settings.n

    def wanted(self, names: list[str]) -> Any:
        """One row a user who has a neighbour."""
        units = [{"number": number, "name": name} for number, name in enumerate(names)]
        found = one_block_each(units).map_batches(
            neighbours_wanted,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={"users": self.users, "means": sorted_by_user.remote(*self._means())},
        )
        return concatenated.remote(*found.to_arrow_refs())

    def search(self, users: pa.Table, wanted: pa.Table) -> pa.Table:
        """What of these users' profiles matters for the targets of those whose neighbours they are."""
        items = Catalogue(ray.get(self.catalogue))
        near: dict[str, list[dict[str, Any]]] = {}
        for row in wanted.filter(pc.is_in(wanted["neighbour"], users["user_id"].combine_chunks())).to_pylist():
            near.setdefault(row["neighbour"], []).append(row)
        rows = [
            {**review, "part": request["part"], "for_user": request["user_id"], "order": f"{rank:06d}", "user_id": peer}
            for peer, profile in _profiles(users, near)
            for request in near[peer]
            for rank, review in enumerate(self._best(profile, request["target"], items))
        ]
        return pa.Table.from_pylist(rows, FOUND)

    def _best(self, profile: list[dict[str, Any]], target: Mapping[str, Any], items: Catalogue) -> list[dict[str, Any]]:
        until = target["timestamp"] if self.as_of == "target" else None
        seen = [review for review in profile if until is None or review["timestamp"] <= until]
        return [seen[position] for position in retrieve(seen, target, items, self.settings, k=0).history]

    def _means(self) -> list[Any]:
        """The mean embedding of every user who has one, as references to tables."""
        names = [{"part": name} for name in part_names(self.items)]
        if not names:
            return []
        n_buckets = shuffle_partitions(len(names))
        vectors = one_block_each(names).map_batches(
            vectors_of_part,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={"items": self.items, "embeddings": self.embeddings, "n_buckets": n_buckets},
        )
        means = vectors.groupby("bucket", num_partitions=n_buckets).map_groups(mean_vectors, batch_format="pyarrow")
        return list(means.to_arrow_refs())


def _profiles(users: pa.Table, wanted: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    ids = users["user_id"].to_pylist()
    kept = [row for row, user_id in enumerate(ids) if user_id in wanted]
    return list(
        zip([ids[row] for row in kept], users["profile"].take(pa.array(kept, pa.int64())).to_pylist(), strict=True)
    )


def vectors_of_part(batch: pa.Table, items: Folder, embeddings: Folder, n_buckets: int) -> pa.Table:
    """One row a review of a part's items, with its vector."""
    reviews = [
        {**review, "item_id": item["item_id"]}
        for item in read_part(items, batch["part"][0].as_py()).rows.to_pylist()
        for review in item["reviews"]
    ]
    numbers = sorted({review["embedded_in"] for review in reviews})
    parts = [vectors_by_text(read_part(embeddings, part_name(number)).rows) for number in numbers]
    vectors = {name: vector for part in parts for name, vector in part.items()}
    columns = [
        pa.array([zlib.crc32(review["user_id"].encode()) % n_buckets for review in reviews], pa.int32()),
        pa.array([review["user_id"] for review in reviews]),
        pa.array([review["item_id"] for review in reviews]),
        pa.array([vectors[review["text_id"]] for review in reviews], pa.list_(pa.float32())),
    ]
    return pa.table(columns, schema=VECTORS)


def mean_vectors(reviews: pa.Table) -> pa.Table:
    """The mean vector of every user in a bucket, in an order of addition that does not depend on the shuffle."""
    ordered = reviews.sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    users, first = np.unique(np.array(ordered["user_id"].to_pylist()), return_index=True)
    matrix = _matrix(ordered["vector"])
    means = np.add.reduceat(matrix.astype(np.float64), first) / np.diff([*first, len(matrix)])[:, None]
    return pa.table([pa.array(users.tolist()), pa.array(list(means.astype(np.float32)))], schema=MEANS)


@ray.remote(num_cpus=1)
def sorted_by_user(*tables: pa.Table) -> pa.Table:
    """The means of all users in user_id order."""
    return pa.concat_tables([*tables, MEANS.empty_table()]).sort_by("user_id").combine_chunks()


def neighbours_wanted(batch: pa.Table, users: Folder, means: Any) -> pa.Table:
    """The neighbours of the users of one part."""
    unit, table = batch.to_pylist()[0], ray.get(means)
    rows = read_part(users, unit["name"]).rows.select(["user_id", "target"]).to_pylist()
    found = nearest_users([row["user_id"] for row in rows], table["user_id"].to_pylist(), _matrix(table["vector"]))
    wanted = [
        {"part": unit["number"], "user_id": row["user_id"], "neighbour": found[row["user_id"]], "target": row["target"]}
        for row in rows
        if row["user_id"] in found
    ]
    return pa.Table.from_pylist(wanted, WANTED)


def nearest_users(users: list[str], known: list[str], means: np.ndarray) -> dict[str, str]:
    """The nearest other user by cosine for each of `users` who is known; ties go to the smaller user id.

    Args:
        users: who looks for a neighbour.
        known: who has a mean vector, in user_id order.
        means: float32[len(known), d].
    """
    place = {user_id: row for row, user_id in enumerate(known)}
    rows = [place[user_id] for user_id in users if user_id in place]
    if len(known) < 2:
        return {}
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    unit = means / np.where(norms == 0, 1, norms)
    nearest: dict[str, str] = {}
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        similarity = unit[block] @ unit.T
        similarity[np.arange(len(block)), block] = -np.inf
        best = (similarity >= similarity.max(axis=1, keepdims=True) - ROUNDING).argmax(axis=1)
        nearest |= {known[row]: known[peer] for row, peer in zip(block, best, strict=True)}
    return nearest


def _matrix(vectors: pa.ChunkedArray) -> np.ndarray:
    """A column of equally long lists as float32[rows, d]."""
    lists = vectors.combine_chunks()
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1) if len(lists) else np.empty((0, 0))


def _settings(config: Config) -> dict[str, Any]:
    return {**config.retrieval.model_dump(mode="json"), "as_of": config.selection.as_of}


def _make(context: StageContext) -> Neighbour:
    users, items, embeddings = (context.folders[name] for name in ("users", "items", "embeddings"))
    config = context.config
    return Neighbour(users, items, embeddings, context.catalogue(), config.retrieval, config.selection.as_of)


FINDERS["neighbour"] = PeerFinder(inputs=("users", "items", "embeddings"), settings=_settings, make=_make)
