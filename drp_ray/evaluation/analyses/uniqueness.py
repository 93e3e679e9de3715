"""How unique users are, as DPL measures it, and what a method gains for the more and for the less unique half.

A user's uniqueness is the Euclidean distance of the mean embedding of the user's reviews from the centre, which is the
mean over all users.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drp_ray.evaluation.analyses.intervals import Draws, Values, difference_of, mean_of

DISTANCE_DIGITS = 9
"""Distances are rounded, so that the order in which vectors are added decides no half."""


def distances_from_centre(means: Values) -> Values:
    """The distance of every user's mean embedding (float64[users, d]) from the mean of all."""
    if len(means) == 0:
        return np.empty(0)
    found: Values = np.linalg.norm(means - means.mean(axis=0), axis=1).round(DISTANCE_DIGITS)
    return found


def is_more_unique(distances: Values) -> NDArray[np.bool_]:
    """Whether a user is in the more unique half: farther away than the median. Equal distances are never parted."""
    return distances > np.median(distances) if len(distances) else np.empty(0, bool)


def by_half(distances: Values, one: dict[str, Values], other: dict[str, Values], draws: Draws) -> dict[str, Any]:
    """For every measure both runs' means and the gain of one over the other, by half, and how much the gains differ.

    A user without a score in one of the runs (NaN) is in no number of that measure, and is counted.
    """
    unique = is_more_unique(distances)
    return {
        "median_distance": float(np.median(distances)) if len(distances) else None,
        "users": {"more_unique": int(unique.sum()), "less_unique": int((~unique).sum())},
        "measures": {name: _gains(unique, one[name], other[name], draws) for name in one if name in other},
    }


def _gains(unique: NDArray[np.bool_], one: Values, other: Values, draws: Draws) -> dict[str, Any]:
    gain = one - other
    scored = ~np.isnan(gain)
    halves = {"more_unique": unique & scored, "less_unique": ~unique & scored}
    found: dict[str, Any] = {
        half: {
            "mean_a": _mean(one[members]),
            "mean_b": _mean(other[members]),
            **mean_of(gain[members], draws).as_json("gain"),
        }
        for half, members in halves.items()
    }
    contrast = difference_of(gain[halves["more_unique"]], gain[halves["less_unique"]], draws)
    return {**found, "contrast": contrast.as_json("difference"), "missing": int((~scored).sum())}


def _mean(values: Values) -> float | None:
    return float(np.mean(np.sort(values))) if len(values) else None
