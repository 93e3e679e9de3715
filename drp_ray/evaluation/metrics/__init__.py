"""The metrics, one a file. Every module of this package is imported, so that a new file is a new metric.

The published ones come first: their columns keep their places, whatever is added.
"""

from importlib import import_module
from pkgutil import iter_modules

from drp_ray.evaluation.metrics import rouge, bleu, meteor  # isort: skip (in the order of their columns)
from drp_ray.evaluation.metrics.base import Metric, ProfileMetric, Scores, metric

__all__ = ["Metric", "ProfileMetric", "Scores", "bleu", "meteor", "metric", "rouge"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
