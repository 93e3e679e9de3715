"""Representatives that are least similar to the user (ablation)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from drp_ray.config import Selection
from drp_ray.stages.strategies.base import Chosen, Representative, Review, first_smallest, others_of, strategy


@strategy("simrank")
def least_similar(
    item_id: str, reviews: Sequence[Review], vectors: Mapping[str, np.ndarray], settings: Selection
) -> Callable[[int], Chosen]:
    """The K other distinct texts least similar by cosine, the least similar first; ties by user_id (ablation)."""
    matrix = np.stack([vectors[review["text_id"]] for review in reviews]).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True).clip(min=1e-12)

    def choose(position: int) -> Chosen:
        similarity, left = matrix @ matrix[position], others_of(reviews, position)
        picked: list[int] = []
        while left and len(picked) < settings.k:
            picked.append(left.pop(first_smallest(similarity[left], scale=1.0)))
        return Chosen(-1, [Representative(other, -1) for other in picked])

    return choose
