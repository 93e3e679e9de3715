"""Representatives by K-means, once per item (DPL, Eq. 4).

Points are the distinct texts of an item's reviews in user_id order; a point's first reviewer stands for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drp_ray.config import Selection
from drp_ray.stages.strategies.base import Chosen, Representative, Review, strategy


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
