"""Distinct-1 and distinct-2: how little a prediction repeats itself."""

from typing import ClassVar

from drp_ray.evaluation.metrics.base import Metric, Scores, metric
from drp_ray.evaluation.words import words_of


class Distinct(Metric):
    """Different n-grams over all n-grams of the prediction; 0 where it has none. Longer texts repeat more."""

    better = "none"
    n: ClassVar[int]

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return f"{self.name} v1|n:{self.n}|tok:words|case:lower"

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 1; the reference does not count."""
        words = words_of(prediction)
        ngrams = [tuple(words[start : start + self.n]) for start in range(len(words) - self.n + 1)]
        return {self.name: len(set(ngrams)) / max(len(ngrams), 1)}


@metric("distinct1", "Distinct-1")
class Distinct1(Distinct):
    """Different words over all words."""

    n = 1


@metric("distinct2", "Distinct-2")
class Distinct2(Distinct):
    """Different pairs of neighbouring words over all such pairs."""

    n = 2
