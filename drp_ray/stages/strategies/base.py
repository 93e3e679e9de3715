"""What a strategy is: who represents the other reviewers of an item, once the item's texts are embedded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drp_ray.config import Selection
from drp_ray.errors import BadInput, nearest

Review = Mapping[str, Any]

TIE_TOLERANCE = 1e-5
"""Distances that differ by less, in units of the vectors' length, count as equal; so do cosine similarities."""


@dataclass(frozen=True)
class Representative:
    """A reviewer who stands for a group, by position among the item's reviews."""

    position: int
    cluster: int


@dataclass(frozen=True)
class Chosen:
    """The group that a user is in and those who represent the others. A strategy without groups says -1."""

    cluster: int
    representatives: list[Representative]


Strategy = Callable[[str, Sequence[Review], Mapping[str, np.ndarray], Selection], Callable[[int], Chosen]]
"""From an item's id, reviews and vectors to a function from a review's position to who is chosen for it."""

STRATEGIES: dict[str, Strategy] = {}


def strategy(name: str) -> Callable[[Strategy], Strategy]:
    """Register a selection strategy under the name that `selection.strategy` gives."""

    def register(function: Strategy) -> Strategy:
        STRATEGIES[name] = function
        return function

    return register


def others_of(reviews: Sequence[Review], position: int) -> list[int]:
    """Who can represent the others for the review at `position`: the first reviewer of every other distinct text."""
    first_of_text: dict[str, int] = {}
    for other, review in enumerate(reviews):
        first_of_text.setdefault(review["text_id"], other)
    first_of_text.pop(reviews[position]["text_id"], None)
    return list(first_of_text.values())


def first_smallest(values: np.ndarray, scale: float) -> int:
    """The first of the smallest of float64[n]; values that lie within `TIE_TOLERANCE` times `scale` are equal.

    Embeddings of the same text differ by some 1e-7 from batch to batch. Without the tolerance that would decide ties:
    the two members of a group of two, say, are equally far from their centre.
    """
    return int(np.flatnonzero(values <= values.min() + TIE_TOLERANCE * scale)[0])


def scale_of(points: np.ndarray) -> float:
    """The length of the longest of float64[n, d]."""
    return float(np.linalg.norm(points, axis=1).max())


def find_strategy(name: str) -> Strategy:
    """Look a strategy up.

    Raises:
        BadInput: there is none of this name.
    """
    if name not in STRATEGIES:
        raise BadInput(f"selection.strategy: there is no strategy {name!r}; {nearest(name, STRATEGIES)}")
    return STRATEGIES[name]
