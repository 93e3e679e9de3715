"""controls: real texts to compare predictions with, and the reviewers of each user's target item.

| control | what it is | when |
|---|---|---|
| reference | the user's own review of the target item: the ceiling (it is in `users`) | |
| other_review | another user's review of the same item: the floor | at any time: nothing is predicted from it |
| own_review | the user's own review of another item | until the target |
| swapped_user | the next user with the same target item, whose prediction is taken for this user's | |
| authors | the user and four other reviewers of the item with their reviews of other items | until the target |

All choices follow from hashes of ids, so that they are the same for every run, order of rows and layout of parts.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray import schema
from drp_ray.evaluation.authorship import AUTHORS, LONGEST
from drp_ray.inputs.dataset import Dataset, RowGroup
from drp_ray.running.blocks import one_block_each
from drp_ray.running.part_outcomes import committed_table
from drp_ray.running.regrouping import placeholders, shuffle_partitions
from drp_ray.schema import Row
from drp_ray.stages.stage import Stage, after
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import commit_part, part_names, read_part

MIN_OTHER_REVIEWS = 2
"""Reviews of other items that a reviewer must have to be known by them."""

WANTED = pa.schema(
    [
        ("part", pa.int32()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("text", pa.string()),
        ("until", pa.int64()),
    ]
)
"""Whom to find other reviewers for: the target's item, text and time."""

FOUND = pa.schema(
    [
        ("part", pa.int32()),
        ("for_user", pa.string()),
        ("order", pa.string()),
        ("user_id", pa.string()),
        ("text", pa.string()),
        ("reviews", pa.list_(pa.string())),
    ]
)
"""A reviewer of the item of `for_user`: the review of the item, and those of other items (null where too few)."""


@dataclass(frozen=True)
class ControlParts:
    """For every user of `users` the texts of its controls; parts hold the same users as those of `users`."""

    dataset: Dataset
    users: Folder

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """Search all row groups for other reviewers, shuffle them by part, write."""
        names = part_names(self.users)
        units = [{"number": number, "name": name} for number, name in enumerate(names)]
        wanted = one_block_each(units).map_batches(
            targets_of_part, batch_size=1, batch_format="pyarrow", fn_kwargs={"users": self.users}
        )
        shared = with_swapped_users.remote(*wanted.to_arrow_refs())
        groups = [{"file": group.file, "index": group.index} for group in self.dataset.row_groups()]
        found = one_block_each(groups).map_batches(
            search_row_group,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={"dataset": self.dataset, "wanted": shared},
        )
        everything = placeholders(len(names), FOUND).union(found)
        grouped = everything.groupby("part", num_partitions=shuffle_partitions(len(names)))
        arguments = {"users": self.users, "wanted": shared, "names": names, "folder": folder}
        return grouped.map_groups(write_control_part, batch_format="pyarrow", fn_kwargs=arguments)


def targets_of_part(batch: pa.Table, users: Folder) -> pa.Table:
    """What the users of one part look for."""
    unit = batch.to_pylist()[0]
    rows = read_part(users, unit["name"]).rows.select(["user_id", "target"]).to_pylist()
    return pa.Table.from_pylist(
        [
            {
                "part": unit["number"],
                "user_id": row["user_id"],
                "item_id": row["target"]["item_id"],
                "text": row["target"]["text"],
                "until": row["target"]["timestamp"],
            }
            for row in rows
        ],
        WANTED,
    )


@ray.remote(num_cpus=1)
def with_swapped_users(*wanted: pa.Table) -> pa.Table:
    """All that is looked for, with `swapped_user`."""
    table = pa.concat_tables([*wanted, WANTED.empty_table()]).combine_chunks()
    partners = swapped_users(zip(table["item_id"].to_pylist(), table["user_id"].to_pylist(), strict=True))
    swapped = pa.array([partners.get(user) for user in table["user_id"].to_pylist()], pa.string())
    return table.append_column("swapped_user", swapped).combine_chunks()


def swapped_users(targets: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each (item, user) the next of the item's users in a drawn circle: every prediction is taken once."""
    users_of: dict[str, list[str]] = {}
    for item_id, user_id in targets:
        users_of.setdefault(item_id, []).append(user_id)
    partners: dict[str, str] = {}
    for item_id, users in users_of.items():
        circle = sorted(users, key=lambda user: _draw("swapped", item_id, user))
        if len(circle) > 1:
            partners |= dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    return partners


def search_row_group(batch: pa.Table, dataset: Dataset, wanted: Any) -> pa.Table:
    """The reviewers among the users of one row group, for those who look for them."""
    unit = batch.to_pylist()[0]
    users = dataset.read_users(RowGroup(unit["file"], unit["index"], 0))
    return pa.Table.from_pylist(search(users, ray.get(wanted)), FOUND)


def search(users: pa.Table, wanted: pa.Table) -> list[Row]:
    """The first reviewers, in the order drawn, that these users are for each user who looks."""
    reviewers: dict[str, list[Row]] = {}
    for author in users.to_pylist():
        for item_id in {review["item_id"] for review in _reviews(author)}:
            reviewers.setdefault(item_id, []).append(author)
    found = []
    for request in wanted.filter(pc.is_in(wanted["item_id"], pa.array(reviewers, pa.string()))).to_pylist():
        found += _reviewers_for(request, reviewers[request["item_id"]])
    return found


def _reviews(author: Row) -> list[Row]:
    return [*author["profile"], author["target"]]


def _reviewers_for(request: Row, authors: Sequence[Row]) -> list[Row]:
    """The first one, whose review is the floor, and the first four who have enough other reviews."""
    drawn = sorted(
        (_draw("author", request["user_id"], request["item_id"], author["user_id"]), place)
        for place, author in enumerate(authors)
        if author["user_id"] != request["user_id"]
    )
    found: list[Row] = []
    known = 0
    for order, place in drawn:
        text = _review_of(authors[place], request)
        if text is None:
            continue
        reviews = other_reviews(_reviews(authors[place]), request)
        if reviews is None and found:
            continue
        known += reviews is not None
        row = {"part": request["part"], "for_user": request["user_id"], "order": order}
        found.append({**row, "user_id": authors[place]["user_id"], "text": text, "reviews": reviews})
        if known == AUTHORS - 1:
            break
    return found


def _review_of(author: Row, request: Row) -> str | None:
    """The author's newest review of the item in words that are not the user's."""
    reviews = [review for review in _reviews(author) if review["item_id"] == request["item_id"]]
    texts = [(review["timestamp"], review["text"]) for review in reviews if not _same_words(review, request)]
    return max(texts)[1] if texts else None


def other_reviews(reviews: Sequence[Row], request: Row) -> list[str] | None:
    """Texts of other items until the target, the newest first, up to `LONGEST` characters; None where they are too few.

    A copy of the target's text under another item is left out: it would give the user away.
    """
    others = [
        (-review["timestamp"], review["text"])
        for review in reviews
        if review["item_id"] != request["item_id"]
        and review["timestamp"] <= request["until"]
        and not _same_words(review, request)
    ]
    if len(others) < MIN_OTHER_REVIEWS:
        return None
    kept, left = [], LONGEST
    for _, text in sorted(others):
        if left > 0:
            kept.append(text[:left])
            left -= len(text)
    return kept


def _same_words(review: Row, request: Row) -> bool:
    return bool(review["text"].split() == request["text"].split())


def _draw(*names: str) -> str:
    """A place in an order that follows from names alone."""
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def write_control_part(found: pa.Table, users: Folder, wanted: Any, names: list[str], folder: Folder) -> pa.Table:
    """Write the controls of one part of users."""
    name = names[found["part"][0].as_py()]
    requests = ray.get(wanted)
    requests = requests.filter(pc.equal(requests["part"], found["part"][0]))
    request_of = {row["user_id"]: row for row in requests.to_pylist()}
    reviewers: dict[str, list[Row]] = {}
    for row in found.filter(pc.is_valid(found["for_user"])).sort_by("order").to_pylist():
        reviewers.setdefault(row["for_user"], []).append(row)
    rows = [
        control_row(user, request_of[user["user_id"]], reviewers.get(user["user_id"], []))
        for user in read_part(users, name).rows.to_pylist()
    ]
    without = {f"without_{column}": sum(row[column] is None for row in rows) for column in schema.CONTROLS.names[1:]}
    committed = commit_part(folder, name, pa.Table.from_pylist(rows, schema.CONTROLS), {**without}, "")
    return committed_table(committed)


def control_row(user: Row, request: Row, reviewers: Sequence[Row]) -> Row:
    """One row of `schema.CONTROLS`; `reviewers` are in the order drawn."""
    return {
        "user_id": user["user_id"],
        "other_review": reviewers[0]["text"] if reviewers else None,
        "own_review": _own_review(user, request),
        "swapped_user": request["swapped_user"],
        "authors": _authors(user, request, reviewers),
    }


def _own_review(user: Row, request: Row) -> str | None:
    """A drawn one of the user's reviews of other items until the target."""
    others = [
        (_draw("own", user["user_id"], review["item_id"], str(review["timestamp"]), review["text"]), review["text"])
        for review in user["profile"]
        if review["item_id"] != request["item_id"]
        and review["timestamp"] <= request["until"]
        and not _same_words(review, request)
    ]
    return min(others)[1] if others else None


def _authors(user: Row, request: Row, reviewers: Sequence[Row]) -> list[Mapping[str, Any]] | None:
    """The user and the first four others who are known by enough reviews, by id; None where there are fewer."""
    own = other_reviews(user["profile"], request)
    others = [{"user_id": row["user_id"], "reviews": row["reviews"]} for row in reviewers if row["reviews"] is not None]
    others = others[: AUTHORS - 1]
    if own is None or len(others) < AUTHORS - 1:
        return None
    return sorted([{"user_id": user["user_id"], "reviews": own}, *others], key=lambda author: author["user_id"])


CONTROLS = Stage(
    "controls",
    version=1,
    inputs=after("users"),
    make=lambda context: ControlParts(context.dataset, context.folders["users"]),
    is_needed=lambda spec: spec.config.evaluation.controls,
    only_evaluates=True,
    reads_dataset=True,
)
