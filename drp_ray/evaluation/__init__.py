"""How good predictions are: `metrics` compares texts, `wordnet` finds the dictionary that METEOR needs."""

from drp_ray.evaluation.metrics import Metric, ProfileMetric, Scores, metric

__all__ = ["Metric", "ProfileMetric", "Scores", "metric"]
