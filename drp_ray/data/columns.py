"""What columns of other people's data are called, and how rows are read by what is there.

A mapping is found once, from the columns of a set; what it lacks is an error that lists what was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from drp_ray.data.formats import milliseconds
from drp_ray.errors import BadInput

ITEM_ID = ("item_id", "parent_asin", "asin", "business_id")
USER = {
    "user_id": ("user_id", "reviewer_id", "user"),
    "profile": ("profile", "history", "reviews"),
    "target": ("target", "data"),
}
REVIEW = {
    "item_id": ITEM_ID,
    "rating": ("rating", "stars", "overall"),
    "text": ("text", "review_text", "review"),
    "timestamp": ("timestamp", "date", "time"),
}
REVIEW_EXTRAS = {
    "title": ("title", "review_title", "summary"),
    "item_title": ("item_title", "business_name", "name"),
}
ITEM = {"item_id": ITEM_ID, "title": ("title", "item_title", "business_name", "name")}
ITEM_EXTRAS = {"description": ("description",)}

Names = Mapping[str, str]
"""Our name of a column to its name there."""


@dataclass(frozen=True)
class UserColumns:
    """What the columns of users are called, and the fields of the reviews in the profile and of the target."""

    user: Names
    profile: Names
    target: Names


def map_users(found: pa.Schema, where: str) -> UserColumns:
    """Map the columns of users.

    Raises:
        BadInput: a column cannot be found, or is no review or list of reviews.
    """
    user = _mapped(found, USER, {}, where)
    profile, target = found.field(user["profile"]).type, found.field(user["target"]).type
    is_list = pa.types.is_list(profile) or pa.types.is_large_list(profile)
    if not (is_list and pa.types.is_struct(profile.value_type)) or not pa.types.is_struct(target):
        raise BadInput(f"{where}: a list of reviews and a review are needed, found: {_told(found)}")
    return UserColumns(
        user,
        _mapped(pa.schema(list(profile.value_type)), REVIEW, REVIEW_EXTRAS, f"{where}, {user['profile']}"),
        _mapped(pa.schema(list(target)), REVIEW, REVIEW_EXTRAS, f"{where}, {user['target']}"),
    )


def map_items(found: pa.Schema, where: str) -> Names:
    """Map the columns of items.

    Raises:
        BadInput: a column cannot be found.
    """
    return _mapped(found, ITEM, ITEM_EXTRAS, where)


def _mapped(
    found: pa.Schema, needed: Mapping[str, tuple[str, ...]], extras: Mapping[str, tuple[str, ...]], where: str
) -> Names:
    names = {}
    for ours, theirs in {**needed, **extras}.items():
        known = next((name for name in theirs if name in found.names), None)
        if known is not None:
            names[ours] = known
        elif ours in needed:
            raise BadInput(f"{where}: no column for {ours} ({' or '.join(theirs)}); found: {_told(found)}")
    return names


def _told(found: pa.Schema) -> str:
    return "; ".join(f"{column.name}: {column.type}" for column in found)


def user_row(row: Mapping[str, Any], columns: UserColumns) -> dict[str, Any]:
    """A row of users under our names.

    Raises:
        ValueError: a date cannot be understood.
    """
    return {
        "user_id": row[columns.user["user_id"]],
        "profile": [review_row(review, columns.profile) for review in row[columns.user["profile"]] or []],
        "target": review_row(row[columns.user["target"]], columns.target),
    }


def review_row(review: Mapping[str, Any] | None, names: Names) -> dict[str, Any] | None:
    """A review under our names, its time in milliseconds."""
    if review is None:
        return None
    told = {ours: review[theirs] for ours, theirs in names.items() if ours != "item_title"}
    return {**told, "timestamp": _milliseconds(told["timestamp"])}


def _milliseconds(moment: Any) -> Any:
    if isinstance(moment, datetime):
        return milliseconds(moment.isoformat())
    return milliseconds(moment) if isinstance(moment, str) else moment


def item_row(row: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """An item under our names, the paragraphs of its description joined."""
    description = row[names["description"]] if "description" in names else None
    if isinstance(description, list):
        description = " ".join(paragraph for paragraph in description if paragraph)
    return {"item_id": row[names["item_id"]], "title": row[names["title"]], "description": description}


def named_items(row: Mapping[str, Any], columns: UserColumns) -> list[dict[str, Any]]:
    """The items that the reviews of a row name themselves; none where they do not."""
    found = []
    for names, reviews in (
        (columns.profile, row[columns.user["profile"]] or []),
        (columns.target, [row[columns.user["target"]]]),
    ):
        if "item_title" in names:
            found += [
                {"item_id": review[names["item_id"]], "title": review[names["item_title"]], "description": None}
                for review in reviews
            ]
    return found
