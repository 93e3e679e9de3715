"""What the columns of sets on the hub are called, and their rows under our names.

A mapping is found once, from the columns of a set; what it lacks is an error that lists what was found.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from drp_ray.data.formats import joined_paragraphs, milliseconds
from drp_ray.errors import BadInput

KNOWN_ITEM_IDS = ("item_id", "parent_asin", "asin", "business_id")
KNOWN_USER_COLUMNS = {
    "user_id": ("user_id", "reviewer_id", "user"),
    "profile": ("profile", "history", "reviews"),
    "target": ("target", "data"),
}
KNOWN_REVIEW_FIELDS = {
    "item_id": KNOWN_ITEM_IDS,
    "rating": ("rating", "stars", "overall"),
    "text": ("text", "review_text", "review"),
    "timestamp": ("timestamp", "date", "time"),
    "title": ("title", "review_title", "summary"),
    "item_title": ("item_title", "business_name", "name"),
}
KNOWN_ITEM_COLUMNS = {
    "item_id": KNOWN_ITEM_IDS,
    "title": ("title", "item_title", "business_name", "name"),
    "description": ("description",),
}

ColumnNames = Mapping[str, str]
"""Our name of a column to its name there."""


@dataclass(frozen=True)
class UserColumns:
    """What the columns of users are called, and the fields of the reviews in the profile and of the target."""

    user: ColumnNames
    profile: ColumnNames
    target: ColumnNames


def map_users(found: pa.Schema, where: str) -> UserColumns:
    """Map the columns of users.

    Raises:
        BadInput: a column cannot be found, or is no review or list of reviews.
    """
    user = _mapped(found, KNOWN_USER_COLUMNS, (), where)
    profile, target = found.field(user["profile"]).type, found.field(user["target"]).type
    is_list = pa.types.is_list(profile) or pa.types.is_large_list(profile)
    if not (is_list and pa.types.is_struct(profile.value_type)) or not pa.types.is_struct(target):
        raise BadInput(f"{where}: a list of reviews and a review are needed, found: {_listed(found)}")

    def fields(review: pa.StructType, column: str) -> ColumnNames:
        place = f"{where}, {user[column]}"
        return _mapped(pa.schema(list(review)), KNOWN_REVIEW_FIELDS, ("title", "item_title"), place)

    return UserColumns(user, fields(profile.value_type, "profile"), fields(target, "target"))


def map_items(found: pa.Schema, where: str) -> ColumnNames:
    """Map the columns of items.

    Raises:
        BadInput: a column cannot be found.
    """
    return _mapped(found, KNOWN_ITEM_COLUMNS, ("description",), where)


def _mapped(
    found: pa.Schema, known: Mapping[str, tuple[str, ...]], optional: tuple[str, ...], where: str
) -> ColumnNames:
    names = {}
    for ours, theirs in known.items():
        there = [name for name in theirs if name in found.names]
        if there:
            names[ours] = there[0]
        elif ours not in optional:
            raise BadInput(f"{where}: no column for {ours} ({' or '.join(theirs)}); found: {_listed(found)}")
    return names


def _listed(found: pa.Schema) -> str:
    return "; ".join(f"{column.name}: {column.type}" for column in found)


def as_user(row: Mapping[str, Any], columns: UserColumns) -> dict[str, Any]:
    """A row of users under our names.

    Raises:
        ValueError: a date cannot be understood.
    """
    return {
        "user_id": row[columns.user["user_id"]],
        "profile": [_as_review(review, columns.profile) for review in row[columns.user["profile"]] or []],
        "target": _as_review(row[columns.user["target"]], columns.target),
    }


def _as_review(review: Mapping[str, Any] | None, names: ColumnNames) -> dict[str, Any] | None:
    """A review under our names, its time in milliseconds."""
    if review is None:
        return None
    renamed = {ours: review[theirs] for ours, theirs in names.items() if ours != "item_title"}
    moment = renamed["timestamp"]
    if isinstance(moment, datetime):
        moment = moment.isoformat()
    return {**renamed, "timestamp": milliseconds(moment) if isinstance(moment, str) else moment}


def as_item(row: Mapping[str, Any], names: ColumnNames) -> dict[str, Any]:
    """An item under our names, the paragraphs of its description joined."""
    description = joined_paragraphs(row[names["description"]]) if "description" in names else None
    return {"item_id": row[names["item_id"]], "title": row[names["title"]], "description": description}


def items_named_in(row: Mapping[str, Any], columns: UserColumns) -> Iterator[dict[str, Any]]:
    """The items whose titles the reviews of a row hold; none where they hold no titles."""
    profile, target = row[columns.user["profile"]] or [], row[columns.user["target"]]
    for names, reviews in ((columns.profile, profile), (columns.target, [target])):
        if "item_title" in names:
            for review in reviews:
                title = review[names["item_title"]]
                yield {"item_id": review[names["item_id"]], "title": title, "description": None}
