"""peers: reviews by other users that a method shows beside a user's own, delivered to the user's part.

A finder says which reviews; what is the same for all finders, the way from the dataset's row groups to the parts
of the users, is here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray import schema
from drp_ray.config import Config
from drp_ray.inputs.dataset import Dataset
from drp_ray.running.blocks import one_block_each
from drp_ray.running.part_outcomes import committed_table
from drp_ray.running.regrouping import placeholders, shuffle_partitions
from drp_ray.stages.stage import JobSpec, Stage, StageContext, for_need
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, commit_part, part_names, read_part

FOUND = pa.schema(
    [
        ("part", pa.int32()),
        ("for_user", pa.string()),
        ("order", pa.string()),
        ("user_id", pa.string()),
        *schema.REVIEW,
    ]
)
"""A review by `user_id` on its way to `for_user` in part `part`; the smallest orders are kept."""


class Finder(Protocol):
    """Finds reviews by other users."""

    @property
    def reviews_a_user(self) -> int:
        """How many reviews are kept for a user."""

    def wanted(self, names: list[str]) -> Any:
        """What each user of the named parts is looking for: a table, or Ray's reference to one."""

    def search(self, users: pa.Table, wanted: pa.Table) -> pa.Table:
        """The rows of `FOUND` that some users of the dataset (rows of `schema.USERS`) have for others."""


@dataclass(frozen=True)
class PeerParts:
    """For every user of `users`, the reviews that a finder finds; parts hold the same users as those of `users`."""

    dataset: Dataset
    users: Folder
    finder: Finder

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """Search all row groups, shuffle what was found by part, write."""
        names = part_names(self.users)
        groups = self.dataset.row_groups()
        found = one_block_each([{"number": number} for number in range(len(groups))]).map_batches(
            search_row_group,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={
                "dataset": self.dataset,
                "groups": groups,
                "finder": self.finder,
                "wanted": self.finder.wanted(names),
            },
        )
        everything = placeholders(len(names), FOUND).union(found)
        grouped = everything.groupby("part", num_partitions=shuffle_partitions(len(names)))
        arguments = {
            "users": self.users,
            "names": names,
            "folder": folder,
            "reviews_a_user": self.finder.reviews_a_user,
        }
        return grouped.map_groups(write_peer_part, batch_format="pyarrow", fn_kwargs=arguments)


def search_row_group(batch: pa.Table, dataset: Dataset, groups: list[Any], finder: Finder, wanted: Any) -> pa.Table:
    """What the users of one row group have for others."""
    return finder.search(dataset.read_users(groups[batch["number"][0].as_py()]), ray.get(wanted))


def write_peer_part(found: pa.Table, users: Folder, names: list[str], folder: Folder, reviews_a_user: int) -> pa.Table:
    """Write the reviews for one part of users."""
    name = names[found["part"][0].as_py()]
    reviews_for: dict[str, list[Mapping[str, Any]]] = {}
    ordered = found.filter(pc.is_valid(found["for_user"])).sort_by(
        [("order", "ascending"), ("timestamp", "descending"), ("text", "ascending")]
    )
    for row in ordered.to_pylist():
        reviews_for.setdefault(row["for_user"], []).append(row)
    rows = [
        {"user_id": user_id, "reviews": reviews_for.get(user_id, [])[:reviews_a_user]}
        for user_id in read_part(users, name).rows["user_id"].to_pylist()
    ]
    facts: Facts = {"without_peers": sum(not row["reviews"] for row in rows)}
    committed = commit_part(folder, name, pa.Table.from_pylist(rows, schema.PEERS), facts, "")
    return committed_table(committed)


@dataclass(frozen=True)
class PeerFinder:
    """A finder as jobs use it: the stages it reads, all settings that change what it finds, and how it is made."""

    inputs: tuple[str, ...]
    settings: Callable[[Config], Mapping[str, Any]]
    make: Callable[[StageContext], Finder]


FINDERS: dict[str, PeerFinder] = {}
"""Every finder by the name of the need that it serves."""


def _settings(spec: JobSpec) -> dict[str, Any]:
    need = spec.method.needs.name
    return {"find": need, **FINDERS[need].settings(spec.config)}


def _make(context: StageContext) -> PeerParts:
    finder = FINDERS[context.spec.method.needs.name].make(context)
    return PeerParts(context.dataset, context.folders["users"], finder)


PEERS = Stage(
    "peers",
    version=1,
    inputs=lambda spec: FINDERS[spec.method.needs.name].inputs,
    settings=_settings,
    make=_make,
    is_needed=for_need("peers"),
    reads_dataset=True,
)
