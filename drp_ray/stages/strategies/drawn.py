"""Representatives drawn at random (ablation)."""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from drp_ray.config import Selection
from drp_ray.stages.strategies.base import Chosen, Representative, Review, others_of, strategy


@strategy("random")
def drawn(
    item_id: str, reviews: Sequence[Review], vectors: Mapping[str, np.ndarray], settings: Selection
) -> Callable[[int], Chosen]:
    """K reviewers with other and distinct texts, drawn with a seed of the (user, item) pair (ablation)."""

    def choose(position: int) -> Chosen:
        others = others_of(reviews, position)
        key = f"{settings.seed}\0{reviews[position]['user_id']}\0{item_id}"
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        picked = random.Random(seed).sample(others, min(settings.k, len(others)))
        return Chosen(-1, [Representative(other, -1) for other in sorted(picked)])

    return choose
