"""Totals over all users of a job, estimated from a sample of them that was drawn within kinds of users (strata).

What is counted exactly (users, comparisons) is used as it is: a total is that count times the mean for one of it in the
sample (a ratio estimate in every stratum), and its error is that of this mean (Cochran, Sampling Techniques, 6.10).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

NORMAL_95 = 1.959963984540054
"""Standard errors on either side that an interval of 95% takes."""


@dataclass(frozen=True)
class Strata:
    """The stratum of every user of the job, and the places of those that were sampled."""

    of_all: NDArray[np.int64]
    sampled: NDArray[np.int64]

    def members(self) -> Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """For every stratum who of all users, and who of the sampled, is in it."""
        of_sampled = self.of_all[self.sampled]
        return [(self.of_all == kind, of_sampled == kind) for kind in np.unique(self.of_all)]


@dataclass(frozen=True)
class Estimate:
    """A total, and what every sampled user adds to its error. Estimates of one sample can be added and scaled."""

    value: float
    errors: Values
    besides: float = 0.0
    """A variance besides that of who was sampled."""

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.value + other.value, self.errors + other.errors, self.besides + other.besides)

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(self.value * factor, self.errors * factor, self.besides * factor**2)

    @property
    def standard_error(self) -> float:
        """The standard error of the total."""
        return math.sqrt(float(np.sum(self.errors**2)) + self.besides)

    @property
    def interval(self) -> tuple[float, float]:
        """The total with 95% confidence; not below zero."""
        half = NORMAL_95 * self.standard_error
        return max(self.value - half, 0.0), self.value + half

    @property
    def is_exact(self) -> bool:
        """Whether the sample leaves nothing open."""
        return self.standard_error <= 1e-9 * max(abs(self.value), 1.0)

    def as_json(self) -> dict[str, Any]:
        """The total and its interval."""
        return {"value": self.value, "ci95": list(self.interval), "exact": self.is_exact}


def nothing(strata: Strata) -> Estimate:
    """A total of zero."""
    return Estimate(0.0, np.zeros(len(strata.sampled)))


def total_of(values: Values, per: Values, strata: Strata) -> Estimate:
    """The total over all users of a value that is known for the sampled ones.

    Args:
        values: float64[sampled users].
        per: float64[all users], what the value is in proportion to, such as a user's comparisons.
        strata: who is alike, and who was sampled.
    """
    total, errors = 0.0, np.zeros(len(values))
    for everyone, some in strata.members():
        n, whole = int(some.sum()), float(per[everyone].sum())
        base = per[strata.sampled][some]
        if not n or not base.sum():
            continue
        ratio = values[some].sum() / base.sum()
        total += ratio * whole
        residuals = values[some] - ratio * base
        left_out = 1 - n / int(everyone.sum())
        spread = math.sqrt(left_out * n / (n - 1)) if n > 1 else 0.0
        errors[some] = residuals * (whole / base.sum()) * spread
    return Estimate(float(total), errors)
