"""Choose the users that a job predicts for. The choice depends on the users, not on how they lie in files."""

import hashlib
from collections.abc import Iterable, Sequence

from drp_ray.config import Users
from drp_ray.inputs.dataset import Dataset, RowGroup

ChosenRows = list[tuple[RowGroup, list[int]]]
"""Row groups with the chosen rows of each, in the dataset's order."""


def chosen_rows(dataset: Dataset, users: Users) -> ChosenRows:
    """The rows of the first `users.limit` users, of a seeded `users.sample`, or of all."""
    groups = dataset.row_groups()
    if users.limit is not None:
        return _first_rows(groups, users.limit)
    if users.sample is None:
        return [(group, list(range(group.rows))) for group in groups if group.rows]
    keys = [
        (_sample_key(users.seed, user_id), number, row)
        for number, group in enumerate(groups)
        for row, user_id in enumerate(dataset.read_user_ids(group))
    ]
    return _by_group(groups, [(number, row) for _, number, row in sorted(keys)[: users.sample]])


def _first_rows(groups: Sequence[RowGroup], limit: int) -> ChosenRows:
    chosen = []
    for group in groups:
        rows = list(range(min(group.rows, limit)))
        limit -= len(rows)
        if rows:
            chosen.append((group, rows))
    return chosen


def _by_group(groups: Sequence[RowGroup], rows: Iterable[tuple[int, int]]) -> ChosenRows:
    chosen: dict[int, list[int]] = {}
    for number, row in sorted(rows):
        chosen.setdefault(number, []).append(row)
    return [(groups[number], rows_of_group) for number, rows_of_group in chosen.items()]


def _sample_key(seed: int, user_id: str) -> bytes:
    """A sample takes the users with the smallest keys, so that a larger one holds the smaller."""
    return hashlib.sha256(f"{seed}\0{user_id}".encode()).digest()
