"""contexts: everything a method may know of a user, in one row: past reviews, differences, and the target."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray import schema
from drp_ray.inputs.catalogue import Catalogue, Items
from drp_ray.methods.needs import Need
from drp_ray.running.part_outcomes import committed_table
from drp_ray.running.regrouping import concatenated, in_few_tasks, placeholders, shuffle_partitions
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
        users = in_few_tasks(numbered, users_of_parts, {"retrieved": self.retrieved})
        arguments = {
            "differences": self.differences,
            "source": self.source,
            "part_of_user": concatenated.remote(*users.to_arrow_refs()),
        }
        return in_few_tasks(parts, differences_of_parts, arguments)


def users_of_parts(batch: pa.Table, retrieved: Folder) -> pa.Table:
    """Who is in which part."""
    users = [
        pa.table({"user_id": ids, "part": pa.array([unit["number"]] * len(ids), pa.int32())})
        for unit in batch.to_pylist()
        for ids in [read_part(retrieved, unit["part"]).rows["user_id"]]
    ]
    return pa.concat_tables(users)


def differences_of_parts(batch: pa.Table, differences: Folder, source: Source, part_of_user: Table) -> pa.Table:
    """What every comparison of some parts found, each with its user's part."""
    rows = pa.concat_tables([read_part(differences, name).rows for name in batch["part"].to_pylist()])
    found = found_differences(rows, source)
    users = ray.get(part_of_user)
    part = users["part"].take(pc.index_in(rows["user_id"], users["user_id"].combine_chunks()))
    outcomes = pa.array([each.outcome for each in found], pa.string())
    texts = pa.array([each.text for each in found], pa.string())
    columns = [part, rows["user_id"], outcomes, rows["rank"], rows["item_id"], rows["title"], texts]
    return pa.table(columns, schema=FOUND).combine_chunks()


def write_context_part(found: pa.Table, source: ContextParts, folder: Folder, names: list[str]) -> pa.Table:
    """Write the contexts of one part of users."""
    name, shows_profile = names[found["part"][0].as_py()], "profile" in source.needs.columns
    users = read_part(source.users, name).rows.to_pylist()
    positions = {row["user_id"]: row["history"] for row in read_part(source.retrieved, name).rows.to_pylist()}
    peers = read_part(source.peers, name).rows.to_pylist() if source.peers else []
    peers_of = {row["user_id"]: row["reviews"] for row in peers}
    of_user: dict[str, list[Row]] = {}
    for row in found.filter(pc.is_valid(found["user_id"])).to_pylist():
        of_user.setdefault(row["user_id"], []).append(row)
    items = Catalogue(ray.get(source.catalogue)).of(_items_shown(users, positions, peers_of, shows_profile))
    contexts = [
        {
            **context_of(user, positions[user["user_id"]], of_user.get(user["user_id"], []), items),
            "profile": with_items(in_time_order(user["profile"]), items) if shows_profile else None,
            "peers": with_items(peers_of[user["user_id"]], items) if source.peers else None,
        }
        for user in users
    ]
    committed = commit_part(folder, name, pa.Table.from_pylist(contexts, schema.CONTEXTS), {}, "")
    return committed_table(committed)


def _items_shown(
    users: Sequence[Row],
    positions: Mapping[str, Sequence[int]],
    peers_of: Mapping[str, Sequence[Row]],
    shows_profile: bool,
) -> Iterator[str]:
    """The items of all reviews that the users' contexts hold."""
    for user in users:
        profile = user["profile"]
        yield user["target"]["item_id"]
        past = profile if shows_profile else [profile[position] for position in positions[user["user_id"]]]
        yield from (review["item_id"] for review in (*past, *peers_of.get(user["user_id"], ())))


def context_of(user: Row, history: list[int], found: list[Row], items: Items) -> Row:
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


def with_items(reviews: Sequence[Mapping[str, Any]], items: Items) -> list[Row]:
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
