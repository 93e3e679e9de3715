"""ROUGE-1 and ROUGE-L: words in common, in any order and in the same order."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version

from drp_ray.evaluation.metrics.base import Metric, Scores, metric

# rouge-score is imported where it is used: it brings NLTK, which takes 1 to 2 s that the driver need not pay.


@lru_cache(maxsize=1024)
def _words(text: str) -> tuple[str, ...]:
    """The words as `rouge-score` finds them; remembered, since both metrics ask for every text."""
    from rouge_score.tokenize import tokenize

    return tuple(tokenize(text, None))


def common_words(prediction: Sequence[str], reference: Sequence[str]) -> int:
    """How many words two texts share, each as often as both have it."""
    return (Counter(prediction) & Counter(reference)).total()


def longest_common_subsequence(prediction: Sequence[str], reference: Sequence[str]) -> int:
    """How many words two texts share in the same order.

    A row of the usual table grows by 0 or 1 from place to place; these steps are the bits of one number, and adding
    numbers makes a whole row at once.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(prediction):
        places[word] = places.get(word, 0) | 1 << place
    row = full = (1 << len(prediction)) - 1
    for word in reference:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(prediction) - row.bit_count()


class Rouge(Metric):
    """F1 with the words of `rouge-score`: lower case, [a-z0-9] only, no stemming. The values are that library's."""

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return f"rouge-score {version('rouge-score')}|{self.name} F1|tok:default [a-z0-9]+|case:lower|stem:no"

    @staticmethod
    @abstractmethod
    def common(prediction: Sequence[str], reference: Sequence[str]) -> int:
        """How many words count as common."""

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 1."""
        predicted, true = _words(prediction), _words(reference)
        common = self.common(predicted, true)
        if not common:
            return {self.name: 0.0}
        precision, recall = common / len(predicted), common / len(true)
        return {self.name: 2 * precision * recall / (precision + recall)}


@metric("rouge1", "ROUGE-1")
class Rouge1(Rouge):
    """ROUGE-1: single words in common."""

    common = staticmethod(common_words)


@metric("rougeL", "ROUGE-L")
class RougeL(Rouge):
    """ROUGE-L: the longest common subsequence of the whole texts."""

    common = staticmethod(longest_common_subsequence)
