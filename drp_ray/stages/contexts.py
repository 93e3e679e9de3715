"""contexts: everything a method may know of a user, in one row: past reviews, differences, and the target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray import schema
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.methods.needs import Need
from drp_ray.running.blocks import one_block_each
from drp_ray.running.part_outcomes import committed_table
from drp_ray.running.regrouping import concatenated, placeholders, shuffle_partitions
from drp_ray.schema import Row
from drp_ray.stages.differences import Source, found_differences
from drp_ray.stages.items import Table
from drp_ray.stages.stage import JobSpec, Stage, StageContext
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import commit_part, part_names, read_part

FOUND = pa.schema([("part", pa.int32()), ("user_id", pa.string()), ("outcome", pa.string()), *schema.DIFFERENCE])
"""What a comparison found, on its way to its user's part; its text is null where it found nothing."""


@dataclass(frozen=True)
class ContextParts:
    """Joins users, what was retrieved for them and what the method needs besides, in folders that may be None."""

    users: Folder
    retrieved: Folder
    catalogue: Table
    needs: Need
    differences: Folder | None
    source: Source
    peers: Folder | None

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """Shuffle the differences by their users' part and write; users without differences are in a part too."""
        names = part_names(self.users)
        everything, found = placeholders(len(names), FOUND), self._found(names)
        if found is not None:
            everything = everything.union(found)
        grouped = everything.groupby("part", num_partitions=shuffle_partitions(len(names)))
        arguments = {"source": self, "folder": folder, "names": names}
        return grouped.map_groups(write_context_part, batch_format="pyarrow", fn_kwargs=arguments)

    def _found(self, names: list[str]) -> ray.data.Dataset | None:
        parts = [{"part": name} for name in part_names(self.differences)] if self.differences else []
        if not parts:
            return None
        numbered = [{"part": name, "number": number} for number, name in enumerate(names)]
        users = one_block_each(numbered).map_batches(
            users_of_part, batch_size=1, batch_format="pyarrow", fn_kwargs={"retrieved": self.retrieved}
        )
        return one_block_each(parts).map_batches(
            differences_of_part,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={
                "differences": self.differences,
                "source": self.source,
                "part_of_user": concatenated.remote(*users.to_arrow_refs()),
            },
        )


def users_of_part(batch: pa.Table, retrieved: Folder) -> pa.Table:
    """Who is in a part."""
    users = read_part(retrieved, batch["part"][0].as_py()).rows["user_id"]
    return pa.table({"user_id": users, "part": pa.array([batch["number"][0].as_py()] * len(users), pa.int32())})


def differences_of_part(batch: pa.Table, differences: Folder, source: Source, part_of_user: Table) -> pa.Table:
    """What every comparison of a part found, each with its user's part."""
    rows = read_part(differences, batch["part"][0].as_py()).rows
    found = found_differences(rows, source)
    users = ray.get(part_of_user)
    part = users["part"].take(pc.index_in(rows["user_id"], users["user_id"].combine_chunks()))
    outcomes = pa.array([each.outcome for each in found], pa.string())
    texts = pa.array([each.text for each in found], pa.string())
    columns = [part, rows["user_id"], outcomes, rows["rank"], rows["item_id"], rows["title"], texts]
    return pa.table(columns, schema=FOUND)


def write_context_part(found: pa.Table, source: ContextParts, folder: Folder, names: list[str]) -> pa.Table:
    """Write the contexts of one part of users."""
    name = names[found["part"][0].as_py()]
    items = Catalogue(ray.get(source.catalogue))
    positions = {row["user_id"]: row["history"] for row in read_part(source.retrieved, name).rows.to_pylist()}
    peers = read_part(source.peers, name).rows.to_pylist() if source.peers else []
    peers_of = {row["user_id"]: row["reviews"] for row in peers}
    of_user: dict[str, list[Row]] = {}
    for row in found.filter(pc.is_valid(found["user_id"])).to_pylist():
        of_user.setdefault(row["user_id"], []).append(row)
    contexts = [
        {
            **context_of(user, positions[user["user_id"]], of_user.get(user["user_id"], []), items),
            "profile": with_items(in_time_order(user["profile"]), items) if "profile" in source.needs.columns else None,
            "peers": with_items(peers_of[user["user_id"]], items) if source.peers else None,
        }
        for user in read_part(source.users, name).rows.to_pylist()
    ]
    committed = commit_part(folder, name, pa.Table.from_pylist(contexts, schema.CONTEXTS), {}, "")
    return committed_table(committed)


def context_of(user: Row, history: list[int], found: list[Row], items: Catalogue) -> Row:
    """One user's context: the target's text is the reference and nowhere else."""
    target, outcomes = user["target"], [row["outcome"] for row in found]
    differences = [row for row in found if row["text"] is not None]
    return {
        "user_id": user["user_id"],
        "target": with_items([target], items)[0],
        "reference": target["text"],
        "history": with_items([user["profile"][position] for position in history], items),
        "differences": sorted(differences, key=lambda difference: difference["rank"]),
        "n_comparisons": len(outcomes) - outcomes.count("not compared"),
        "n_no_difference": outcomes.count("none"),
        "n_failed_differences": outcomes.count("failed"),
    }


def in_time_order(profile: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The reviews of a profile, the oldest first, whatever order the dataset's files have them in."""
    return sorted(profile, key=lambda review: review["timestamp"])


def with_items(reviews: Sequence[Mapping[str, Any]], items: Catalogue) -> list[Row]:
    """Put what is known of its item beside every review."""
    found = [(review, items[review["item_id"]]) for review in reviews]
    return [{**review, "item_title": item.title, "item_description": item.description} for review, item in found]


def _settings(spec: JobSpec) -> dict[str, Any]:
    columns = spec.method.needs.columns
    if "differences" in columns:
        return {"source": spec.config.differences.source}
    return {"profile": True} if "profile" in columns else {}


def _make(context: StageContext) -> ContextParts:
    folders = context.folders
    return ContextParts(
        folders["users"],
        folders["retrieved"],
        context.catalogue(),
        context.spec.method.needs,
        folders.get("differences"),
        context.config.differences.source,
        folders.get("peers"),
    )


CONTEXTS = Stage(
    "contexts",
    version=3,
    inputs=lambda spec: ("users", "retrieved", *spec.method.needs.delivered_by),
    settings=_settings,
    make=_make,
    reads_dataset=True,
)
