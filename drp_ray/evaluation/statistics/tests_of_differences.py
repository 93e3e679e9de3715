"""Tests of differences between two runs, the correction for making several, and the smallest effect to be seen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Draws = NDArray[np.float64]
"""A number of each draw of users, or of each user."""

CONFIDENCE = 0.95
POWER = 0.8

ROUNDING = 1e-9
"""Relative to the largest value, two values that are nearer than this are equal: they differ by rounding."""


def percentile_interval(values: Draws) -> tuple[float, float]:
    """The middle 95% of bootstrapped values."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def permutation_p(observed: float, swapped: Draws, is_exact: bool) -> float:
    """How often swapping the runs at random gives a difference as large as the observed one, in either direction.

    Where `swapped` holds every way to swap this is their share. Where they are a random sample the observed
    difference counts as one more of them, (k + 1) / (m + 1): so p is never 0, and no smaller than the test allows.
    """
    sizes = np.abs(swapped)
    tolerance = ROUNDING * max(abs(observed), float(np.nanmax(sizes, initial=0.0)))
    # A swap without a number (no user is left on one side) counts as large: it may not make a difference significant.
    as_large = int(np.count_nonzero(~(sizes < abs(observed) - tolerance)))
    return as_large / len(sizes) if is_exact else (as_large + 1) / (len(sizes) + 1)


def paired_t_p(differences: Draws) -> float:
    """The two-sided p of the paired t-test, from at least two differences that are not all equal."""
    # Imported here: scipy.stats takes half a second, which a command without statistics need not pay.
    from scipy import stats

    return float(stats.ttest_rel(differences, np.zeros_like(differences)).pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's corrected p values of a family of tests, in the order given.

    Rejecting where the corrected value is below 5% makes one false rejection or more in at most 5% of families.
    """
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, min(ps[place] * (len(ps) - rank), 1.0))
        corrected[place] = largest
    return corrected


def smallest_effect(standard_error: float) -> float:
    """The true difference that a two-sided test at 5% finds in 80% of samples with this standard error."""
    from scipy import stats  # Imported here for the reason that `paired_t_p` gives.

    return float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER)) * standard_error
