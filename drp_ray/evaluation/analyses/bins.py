"""Users in bins of a number that they have: their profile's length, their rating, the length of their review."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drp_ray.evaluation.analyses.intervals import Draws, Values, mean_of

MOST_VALUES = 10
"""Up to so many different values each have a bin of their own."""

BINS = 4


@dataclass(frozen=True)
class Bin:
    """Users whose number is from `low` to `high`, both included and both taken by a user."""

    low: float
    high: float
    members: NDArray[np.bool_]


def bins_of(numbers: Values) -> list[Bin]:
    """Cut users into quarters, or by value where there are few; equal numbers are never parted, no bin is empty."""
    distinct = np.unique(numbers)
    if len(distinct) <= MOST_VALUES:
        return [Bin(float(value), float(value), numbers == value) for value in distinct]
    edges = np.unique(np.quantile(numbers, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    places = np.searchsorted(edges, numbers, side="left")
    return [_bin(numbers, places == place) for place in np.unique(places)]


def _bin(numbers: Values, members: NDArray[np.bool_]) -> Bin:
    return Bin(float(numbers[members].min()), float(numbers[members].max()), members)


def binned(numbers: Values, scores: dict[str, Values], draws: Draws) -> list[dict[str, Any]]:
    """For every bin its users, those without a score (NaN), and the mean of every measure over the others."""
    return [
        {
            "low": found.low,
            "high": found.high,
            "users": int(found.members.sum()),
            "measures": {name: _scored(values[found.members], draws) for name, values in scores.items()},
        }
        for found in bins_of(numbers)
    ]


def _scored(values: Values, draws: Draws) -> dict[str, Any]:
    missing = np.isnan(values)
    return {**mean_of(values[~missing], draws).as_json("mean"), "missing": int(missing.sum())}
