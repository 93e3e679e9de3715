"""What a strategy is: who represents the other reviewers of an item, once the item's texts are embedded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drp_ray.config import Selection
from drp_ray.errors import BadInput, nearest

Review = Mapping[str, Any]


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
    """The positions of reviews whose text is not that of the review at `position`."""
    own_text = reviews[position]["text_id"]
    return [other for other, review in enumerate(reviews) if review["text_id"] != own_text]


def find_strategy(name: str) -> Strategy:
    """Look a strategy up.

    Raises:
        BadInput: there is none of this name.
    """
    if name not in STRATEGIES:
        raise BadInput(f"selection.strategy: there is no strategy {name!r}; {nearest(name, STRATEGIES)}")
    return STRATEGIES[name]
