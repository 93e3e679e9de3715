"""A mean or a rank correlation over users, with a percentile bootstrap interval over users.

Values are sorted before users are drawn: the interval depends on the values alone, not on who has them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from drp_ray.evaluation.statistics.resampling import bootstrap_sums, chunks

Values = NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True)
class Draws:
    """How many samples of users are drawn, and with which seed."""

    number: int = 2000
    seed: int = 42


@dataclass(frozen=True)
class Estimate:
    """A number over `n` users, and its interval: none where there are too few users, or no number."""

    value: float | None
    ci95: tuple[float, float] | None
    n: int

    def as_json(self, name: str) -> dict[str, Any]:
        """The estimate under its name."""
        return {name: self.value, "ci95": None if self.ci95 is None else list(self.ci95), "n": self.n}


def mean_of(values: Values, draws: Draws) -> Estimate:
    """The mean; no interval for fewer than two users."""
    n = len(values)
    if n == 0:
        return Estimate(None, None, 0)
    ordered = np.sort(values)
    mean = float(np.mean(ordered))
    return Estimate(mean, _interval(mean, drawn_means(ordered, draws)) if n > 1 else None, n)


def drawn_means(ordered: Values, draws: Draws) -> Values:
    """The mean of every sample of users."""
    means: Values = bootstrap_sums(ordered[:, None], draws.number, draws.seed)[:, 0] / len(ordered)
    return means


def difference_of(one: Values, other: Values, draws: Draws) -> Estimate:
    """The mean of one group of users minus that of another; users are drawn within each group."""
    n = len(one) + len(other)
    if min(len(one), len(other)) == 0:
        return Estimate(None, None, n)
    ordered = np.sort(one), np.sort(other)
    difference = float(np.mean(ordered[0]) - np.mean(ordered[1]))
    if min(len(one), len(other)) < 2:
        return Estimate(difference, None, n)
    drawn = drawn_means(ordered[0], draws) - drawn_means(ordered[1], Draws(draws.number, draws.seed + 1))
    return Estimate(difference, _interval(difference, drawn), n)


def spearman(one: Values, other: Values, draws: Draws) -> Estimate:
    """Spearman's rank correlation; none where one side is the same for all users or there are fewer than three."""
    n = len(one)
    order = np.lexsort((other, one))
    pairs = np.stack([one[order], other[order]])
    found = float(_correlations(pairs[:, None, :])[0]) if n > 2 else np.nan
    if not np.isfinite(found):
        return Estimate(None, None, n)
    generator = np.random.default_rng(draws.seed)
    drawn = [_correlations(pairs[:, generator.integers(0, n, (size, n))]) for size in chunks(draws.number, n)]
    usable = np.concatenate(drawn)
    usable = usable[np.isfinite(usable)]
    return Estimate(found, _interval(found, usable) if len(usable) else None, n)


def _correlations(pairs: Values) -> Values:
    """Rank correlations of pairs[2, samples, users]; NaN where a side is constant."""
    ranks = rankdata(pairs, axis=-1)
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    squares = np.sqrt((centred**2).sum(axis=-1).prod(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Values = np.clip((centred[0] * centred[1]).sum(axis=-1) / squares, -1, 1)
    return found


def _interval(estimate: float, drawn: Values) -> tuple[float, float]:
    """The middle 95% of what was drawn; it holds the estimate, which rounding alone could put beside it."""
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return min(float(low), estimate), max(float(high), estimate)
