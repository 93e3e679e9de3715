"""Which users a report holds the texts of: all, or a seeded sample that always has the largest gains and losses."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drp_ray.viewer.measures import better_of
from drp_ray.viewer.user_table import UserTable

EXTREMES = 20
"""Of every measure, so many of the largest gains and as many of the largest losses are in a sample."""


@dataclass(frozen=True)
class Chosen:
    """The chosen users in user_id order, and how they were chosen, in a sentence."""

    user_ids: tuple[str, ...]
    of: int
    how: str


def choose(tables: Sequence[UserTable], size: int, seed: int) -> Chosen:
    """Choose at least `size` users of all runs; more only where the extremes alone are more.

    Neither the order of rows nor their parts matter: users are ordered by a hash of the seed and their id.
    """
    everyone = sorted({user for table in tables for user in table.user_ids})
    if len(everyone) <= size:
        return Chosen(tuple(everyone), len(everyone), f"All {len(everyone):,} users are here.")
    gains = list(_gains(tables))
    lists = [users for values in gains or _by_merit(tables[0]).values() for users in _both_ends(values)]
    each = max(1, min(EXTREMES, size // max(len(lists), 1)))
    extremes = {user for users in lists for user in users[:each]}
    others = sorted(set(everyone) - extremes, key=lambda user: _drawn(seed, user))
    chosen = sorted([*extremes, *others[: max(size - len(extremes), 0)]])
    what = "gains and losses" if gains else "and smallest values"
    how = (
        f"{len(chosen):,} of {len(everyone):,} users are here: a sample drawn with seed {seed}, and of every score the "
        f"{each} users with the largest {what}. The numbers above are over all users."
    )
    return Chosen(tuple(chosen), len(everyone), how)


def _gains(tables: Sequence[UserTable]) -> Iterator[dict[str, float]]:
    """What users gain with the first run over each other one in each merit, where both were to write the same text."""
    first, targets = _by_merit(tables[0]), tables[0].targets.items()
    for table in tables[1:]:
        other, shared = _by_merit(table), dict(targets & table.targets.items())
        for measure in first.keys() & other.keys() if shared else ():
            values, others = first[measure], other[measure]
            yield {user: values[user] - others[user] for user in shared if user in values and user in others}


def _by_merit(table: UserTable) -> dict[str, dict[str, float]]:
    """The values of those who have one, by measure and user."""
    users = table.user_ids
    found: dict[str, dict[str, float]] = {}
    for measure in (each for each in table.measures if better_of(each) != "none"):
        values = table.values(measure)
        there = np.flatnonzero(~np.isnan(values))
        found[measure] = {users[place]: float(values[place]) for place in there}
    return found


def _both_ends(values: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """The users with the largest values, and those with the smallest; equal values by id."""
    largest = sorted(values, key=lambda user: (-values[user], user))
    return largest[:EXTREMES], sorted(values, key=lambda user: (values[user], user))[:EXTREMES]


def _drawn(seed: int, user: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{user}".encode()).digest()
