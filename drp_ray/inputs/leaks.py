"""Leaks through a user's own profile: the target review itself, and reviews that the user wrote later.

Both give away what is to be predicted: retrieval would rank them first.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Leaking(NamedTuple):
    """Which reviews of a table's profiles leak: the row of each review's user, and two bool[reviews]."""

    user: pa.Array
    is_target: pa.Array
    is_later: pa.Array


@dataclass(frozen=True)
class LeakCounts:
    """How many users have their target in their profile, and how many later reviews; and the first of each."""

    target_users: int = 0
    later_users: int = 0
    first_target: str | None = None
    first_later: str | None = None

    def __add__(self, other: "LeakCounts") -> "LeakCounts":
        return LeakCounts(
            self.target_users + other.target_users,
            self.later_users + other.later_users,
            self.first_target if self.first_target is not None else other.first_target,
            self.first_later if self.first_later is not None else other.first_later,
        )

    def rows(self) -> list[tuple[str, int, str | None]]:
        """Each kind of leak with its users and the first of them."""
        return [
            ("the target review in the user's own profile", self.target_users, self.first_target),
            ("reviews later than the target in the user's own profile", self.later_users, self.first_later),
        ]

    def __bool__(self) -> bool:
        return self.target_users + self.later_users > 0

    def __str__(self) -> str:
        found = [f"{what}: {users:,} (first: {first})" for what, users, first in self.rows() if users]
        return "; ".join(found) or "no leaks"


def find_leaks(users: pa.Table) -> Leaking:
    """Find the leaking reviews in rows of `schema.USERS`: same item and text as the target but for
    white space around it, or a later time.
    """
    profiles = users["profile"].combine_chunks()
    user, reviews = pc.list_parent_indices(profiles), pc.list_flatten(profiles)
    targets = users["target"].combine_chunks().take(user)
    same_item = pc.equal(pc.struct_field(reviews, "item_id"), pc.struct_field(targets, "item_id"))
    texts = (pc.utf8_trim_whitespace(pc.struct_field(rows, "text")) for rows in (reviews, targets))
    is_target = pc.and_(same_item, pc.equal(*texts))
    is_after = pc.greater(pc.struct_field(reviews, "timestamp"), pc.struct_field(targets, "timestamp"))
    return Leaking(user, is_target, pc.and_not(is_after, is_target))


def count_leaks(users: pa.Table) -> LeakCounts:
    """Count the users of some rows whose profiles leak."""
    leaks = find_leaks(users)
    of_target, of_later = (pc.unique(leaks.user.filter(mask)).to_pylist() for mask in (leaks.is_target, leaks.is_later))
    ids = users["user_id"]
    return LeakCounts(
        len(of_target),
        len(of_later),
        ids[min(of_target)].as_py() if of_target else None,
        ids[min(of_later)].as_py() if of_later else None,
    )


def without_leaks(users: pa.Table) -> pa.Table:
    """The same rows of `schema.USERS` with profiles that leak nothing."""
    leaks = find_leaks(users)
    kept = pc.invert(pc.or_(leaks.is_target, leaks.is_later))
    reviews = pc.list_flatten(users["profile"].combine_chunks()).filter(kept)
    lengths = np.bincount(leaks.user.filter(kept).to_numpy(), minlength=users.num_rows)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    profiles = pa.ListArray.from_arrays(offsets, reviews, type=users.schema.field("profile").type)
    return users.set_column(users.schema.get_field_index("profile"), "profile", profiles)
