"""ROUGE-1 and ROUGE-L: words in common, in any order and in the same order."""

from functools import cached_property
from importlib.metadata import version
from typing import Any

from drp_ray.evaluation.metrics.base import Metric, Scores, metric


class Rouge(Metric):
    """F1 of `rouge-score`, which knows it by the same name: lower case, [a-z0-9] only, no stemming."""

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return f"rouge-score {version('rouge-score')}|{self.name} F1|tok:default [a-z0-9]+|case:lower|stem:no"

    @cached_property
    def _scorer(self) -> Any:
        # Imported here: rouge-score brings NLTK, which takes 1 to 2 s that the driver need not pay.
        from rouge_score.rouge_scorer import RougeScorer

        return RougeScorer([self.name], use_stemmer=False)

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 1."""
        return {self.name: float(self._scorer.score(target=reference, prediction=prediction)[self.name].fmeasure)}


@metric("rouge1", "ROUGE-1")
class Rouge1(Rouge):
    """ROUGE-1: single words in common."""


@metric("rougeL", "ROUGE-L")
class RougeL(Rouge):
    """ROUGE-L: the longest common subsequence of the whole texts."""
