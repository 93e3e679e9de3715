"""Length ratio: how many words were written for each word of the reference."""

from drp_ray.evaluation.metrics.base import Metric, Scores, metric


@metric("length_ratio", "Length ratio")
class LengthRatio(Metric):
    """Words of the prediction over words of the reference; 1 where they are as long.

    A reference without any word counts as one word, so that the ratio is finite.
    """

    better = "none"

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return "length ratio v1|tok:white space"

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. 0 or more."""
        return {self.name: len(prediction.split()) / max(len(reference.split()), 1)}
