"""contexts: everything a method may know of a user, in one row: past reviews, differences, and the target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray import schema
from drp_ray.catalogue import Catalogue
from drp_ray.parts import commit_part, read_manifest, read_part
from drp_ray.regroup import shuffle_partitions
from drp_ray.runner import as_row
from drp_ray.stages.items import Table
from drp_ray.storage import Folder

Row = dict[str, Any]
FOUND = pa.schema([("part", pa.int32()), ("user_id", pa.string()), *schema.DIFFERENCE])
"""A difference on its way to its user's part; without a user it only stands for the part."""


@dataclass(frozen=True)
class ContextParts:
    """Joins users, what was retrieved for them and, where `differences` is a folder, what sets them apart."""

    users: Folder
    retrieved: Folder
    catalogue: Table
    differences: Folder | None
    source: Literal["validated", "raw"]

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """Shuffle the differences by their users' part; every part has a marker, so that none is forgotten."""
        names = _part_names(self.users)
        arguments = {
            "users": self.users,
            "retrieved": self.retrieved,
            "catalogue": self.catalogue,
            "folder": folder,
        }
        arguments["names"] = names
        markers = ray.data.from_items(
            [{"part": number} for number in range(len(names))],
            override_num_blocks=shuffle_partitions(len(names)),
        ).map_batches(markers_of_parts, batch_format="pyarrow")
        found = self._found(names)
        grouped = (markers.union(found) if found else markers).groupby(
            "part", num_partitions=shuffle_partitions(len(names))
        )
        return grouped.map_groups(write_context_part, batch_format="pyarrow", fn_kwargs=arguments)

    def _found(self, names: list[str]) -> ray.data.Dataset | None:
        parts = [{"part": name} for name in _part_names(self.differences)] if self.differences else []
        if not parts:
            return None
        numbered = [{"part": name, "number": number} for number, name in enumerate(names)]
        users = ray.data.from_items(numbered, override_num_blocks=len(numbered)).map_batches(
            users_of_part, batch_size=1, batch_format="pyarrow", fn_kwargs={"retrieved": self.retrieved}
        )
        return ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
            differences_of_part,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={
                "differences": self.differences,
                "source": self.source,
                "part_of_user": sorted_users.remote(*users.to_arrow_refs()),
            },
        )


def _part_names(folder: Folder) -> list[str]:
    manifest = read_manifest(folder)
    return [entry.name for entry in manifest.parts] if manifest else []


def markers_of_parts(batch: pa.Table) -> pa.Table:
    """A row without a user for every part."""
    nulls = {field.name: pa.nulls(batch.num_rows, field.type) for field in FOUND}
    return pa.table({**nulls, "part": batch["part"].cast(pa.int32())}, schema=FOUND)


def users_of_part(batch: pa.Table, retrieved: Folder) -> pa.Table:
    """Who is in a part."""
    users = read_part(retrieved, batch["part"][0].as_py()).rows["user_id"]
    return pa.table({"user_id": users, "part": pa.array([batch["number"][0].as_py()] * len(users), pa.int32())})


@ray.remote(num_cpus=1)
def sorted_users(*tables: pa.Table) -> pa.Table:
    """Which part every user is in."""
    return pa.concat_tables(tables).combine_chunks()


def differences_of_part(
    batch: pa.Table, differences: Folder, source: Literal["validated", "raw"], part_of_user: Table
) -> pa.Table:
    """The differences of a part that have a text, each with its user's part."""
    rows = read_part(differences, batch["part"][0].as_py()).rows
    validated = pc.if_else(pc.equal(source, "validated"), rows["validated"], None)
    text = pc.coalesce(validated, rows["extracted"])
    users = ray.get(part_of_user)
    part = users["part"].take(pc.index_in(rows["user_id"], users["user_id"].combine_chunks()))
    found = pa.table([part, rows["user_id"], rows["rank"], rows["item_id"], rows["title"], text], schema=FOUND)
    return found.filter(pc.and_(pc.equal(rows["status"], "ok"), pc.is_valid(text)))


def write_context_part(
    found: pa.Table, users: Folder, retrieved: Folder, catalogue: Table, folder: Folder, names: list[str]
) -> dict[str, list[str]]:
    """Write the contexts of one part of users."""
    name = names[found["part"][0].as_py()]
    items = Catalogue(ray.get(catalogue))
    positions = {row["user_id"]: row["history"] for row in read_part(retrieved, name).rows.to_pylist()}
    of_user: dict[str, list[Row]] = {}
    for row in found.filter(pc.is_valid(found["user_id"])).to_pylist():
        of_user.setdefault(row["user_id"], []).append(row)
    contexts = [
        context_of(user, positions[user["user_id"]], of_user.get(user["user_id"], []), items)
        for user in read_part(users, name).rows.to_pylist()
    ]
    committed = commit_part(folder, name, pa.Table.from_pylist(contexts, schema.CONTEXTS), {}, "")
    return {key: [value] for key, value in as_row(committed).items()}


def context_of(user: Row, history: list[int], differences: list[Row], items: Catalogue) -> Row:
    """One user's context: the target's text is the reference and nowhere else."""
    target = user["target"]
    return {
        "user_id": user["user_id"],
        "target": _with_item(target, items),
        "reference": target["text"],
        "history": [_with_item(user["profile"][position], items) for position in history],
        "differences": sorted(differences, key=lambda difference: difference["rank"]),
    }


def _with_item(review: Mapping[str, Any], items: Catalogue) -> Row:
    item = items[review["item_id"]]
    return {**review, "item_title": item.title, "item_description": item.description}
