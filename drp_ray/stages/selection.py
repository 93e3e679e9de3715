"""Choose who represents the other reviewers of an item (DPL, Eq. 4: once per item).

Points are the distinct texts of an item's reviews in user_id order; a point's first reviewer stands for it.
"""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drp_ray.config import Selection

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


@dataclass(frozen=True)
class Groups:
    """An item's reviews in groups: the group of every review, and one representative a group."""

    cluster_of: list[int]
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


@strategy("kmeans")
def kmeans(
    item_id: str, reviews: Sequence[Review], vectors: Mapping[str, np.ndarray], settings: Selection
) -> Callable[[int], Chosen]:
    """Compare with the representatives of the groups that are not the user's own, in group order (DPL, Eq. 4)."""
    groups = cluster(reviews, vectors, settings)

    def choose(position: int) -> Chosen:
        own = groups.cluster_of[position]
        return Chosen(own, [other for other in groups.representatives if other.cluster != own])

    return choose


@strategy("random")
def drawn(
    item_id: str, reviews: Sequence[Review], vectors: Mapping[str, np.ndarray], settings: Selection
) -> Callable[[int], Chosen]:
    """K other reviewers, drawn with a seed of the (user, item) pair (ablation)."""

    def choose(position: int) -> Chosen:
        others = _others(reviews, position)
        key = f"{settings.seed}\0{reviews[position]['user_id']}\0{item_id}"
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        picked = random.Random(seed).sample(others, min(settings.k, len(others)))
        return Chosen(-1, [Representative(other, -1) for other in sorted(picked)])

    return choose


@strategy("simrank")
def least_similar(
    item_id: str, reviews: Sequence[Review], vectors: Mapping[str, np.ndarray], settings: Selection
) -> Callable[[int], Chosen]:
    """The K other reviewers least similar by cosine, the least similar first (ablation)."""
    matrix = np.stack([vectors[review["text_id"]] for review in reviews]).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True).clip(min=1e-12)

    def choose(position: int) -> Chosen:
        similarity = matrix @ matrix[position]
        others = sorted(_others(reviews, position), key=lambda other: (similarity[other], other))
        return Chosen(-1, [Representative(other, -1) for other in others[: settings.k]])

    return choose


def cluster(reviews: Sequence[Review], vectors: Mapping[str, np.ndarray], settings: Selection) -> Groups:
    """Group an item's reviews into K+1 groups, or as many as there are distinct texts, by K-means.

    Args:
        reviews: the item's reviews in user_id order, one a user.
        vectors: float32[d] for every `text_id`.
        settings: K, the number of starts and the seed.
    """
    first_of_text: dict[str, int] = {}
    for position, review in enumerate(reviews):
        first_of_text.setdefault(review["text_id"], position)
    points = np.stack([vectors[text_id] for text_id in first_of_text])
    labels, centres = _kmeans(points, settings)
    label_of_text = dict(zip(first_of_text, labels.tolist(), strict=True))
    firsts = np.array(list(first_of_text.values()))
    representatives = [
        Representative(int(firsts[labels == label][_nearest(points[labels == label], centres[label])]), label)
        for label in sorted(set(labels.tolist()))
    ]
    return Groups([label_of_text[review["text_id"]] for review in reviews], representatives)


def _kmeans(points: np.ndarray, settings: Selection) -> tuple[np.ndarray, np.ndarray]:
    """Labels int[n] and centres float[groups, d]. Equal vectors can leave fewer groups than were asked for."""
    # Imported here: scikit-learn takes a second, which the driver need not pay.
    from sklearn.cluster import KMeans

    distinct = len(np.unique(points, axis=0))
    model = KMeans(min(settings.k + 1, distinct), random_state=settings.seed, n_init=settings.n_init)
    return model.fit_predict(points), model.cluster_centers_


def _nearest(members: np.ndarray, centre: np.ndarray) -> int:
    """The member nearest to the centre by Euclidean distance; the first of equally near ones."""
    return int(np.argmin(((members - centre) ** 2).sum(axis=1)))


def _others(reviews: Sequence[Review], position: int) -> list[int]:
    own_text = reviews[position]["text_id"]
    return [other for other, review in enumerate(reviews) if review["text_id"] != own_text]
