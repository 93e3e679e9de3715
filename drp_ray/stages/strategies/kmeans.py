"""Representatives by K-means, once per item (DPL, Eq. 4).

Points are the distinct texts of an item's reviews in user_id order; a point's first reviewer stands for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drp_ray.config import Selection
from drp_ray.stages.strategies.base import (
    TIE_TOLERANCE,
    Chosen,
    Representative,
    Review,
    first_smallest,
    scale_of,
    strategy,
)
from drp_ray.stages.strategies.few_points import MOST_POINTS, kmeans_of_few

WEIGHT_STEP = 1e-9
"""Each point weighs this much less than the point before it: see `_kmeans`."""


@dataclass(frozen=True)
class Groups:
    """An item's reviews in groups: the group of every review, and one representative a group."""

    cluster_of: list[int]
    representatives: list[Representative]


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


def cluster(reviews: Sequence[Review], vectors: Mapping[str, np.ndarray], settings: Selection) -> Groups:
    """Group an item's reviews into K+1 groups, or as many as there are distinct points, by K-means.

    The member nearest to its group's centre represents the group; ties go to the first user_id.

    Args:
        reviews: the item's reviews in user_id order, one a user.
        vectors: float32[d] for every `text_id`.
        settings: K, the number of starts and the seed.
    """
    first_of_text: dict[str, int] = {}
    for position, review in enumerate(reviews):
        first_of_text.setdefault(review["text_id"], position)
    points = np.stack([vectors[text_id] for text_id in first_of_text]).astype(np.float64)
    labels = _kmeans(points, settings)
    label_of_text = dict(zip(first_of_text, labels.tolist(), strict=True))
    firsts = np.array(list(first_of_text.values()))
    representatives = [
        Representative(int(firsts[labels == label][nearest_to_centre(points[labels == label])]), label)
        for label in sorted(set(labels.tolist()))
    ]
    return Groups([label_of_text[review["text_id"]] for review in reviews], representatives)


def nearest_to_centre(members: np.ndarray) -> int:
    """The row of float64[n, d] nearest to its mean by Euclidean distance; the first of equally near ones."""
    distances = np.linalg.norm(members - members.mean(axis=0), axis=1)
    return first_smallest(distances, scale_of(members))


def count_distinct(points: np.ndarray, at_most: int) -> int:
    """How many distinct points float64[n, d] holds; the count ends at `at_most`.

    Points that differ by rounding are one: unlike texts can have equal vectors, which then differ from batch to batch.
    """
    count, to_counted = 1, np.linalg.norm(points - points[0], axis=1)
    while count < at_most and to_counted.max() > TIE_TOLERANCE * scale_of(points):
        farthest = points[to_counted.argmax()]
        count, to_counted = count + 1, np.minimum(to_counted, np.linalg.norm(points - farthest, axis=1))
    return count


def _kmeans(points: np.ndarray, settings: Selection) -> np.ndarray:
    """The group of every point: int[n]. Equal points can leave fewer groups than were asked for.

    Of several candidates for a further first centre, scikit-learn takes the one that leaves the smallest sum of squared
    distances. Two points that are each other's nearest neighbours often leave the same sum. Rounding would choose
    between them, and with the choice all random numbers after it lead to other centres. The weights of the points make
    the first user's text the choice; they are too nearly equal to change anything else.
    """
    groups = count_distinct(points, at_most=settings.k + 1)
    weights = 1 - WEIGHT_STEP * np.arange(len(points))
    if len(points) <= MOST_POINTS:
        found = kmeans_of_few(points, weights, groups, settings.n_init, settings.seed)
        if found is not None:
            return found
    # Imported here: scikit-learn takes a second, which the driver need not pay, nor a worker without large items.
    from sklearn.cluster import KMeans

    model = KMeans(groups, random_state=settings.seed, n_init=settings.n_init)
    return np.asarray(model.fit_predict(points, sample_weight=weights))
