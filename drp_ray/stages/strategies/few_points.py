"""K-means of few points: what scikit-learn's `KMeans` computes, with all starts at once.

scikit-learn takes some 6 ms for ten starts on ten points, nearly all of it to check arguments and to limit threads.
Here a centre is a weighted mean of points, so that all distances follow from the points' inner products, and every
start takes the same steps side by side: the same random numbers, the greedy choice of first centres (Arthur and
Vassilvitskii 2007), Lloyd's iterations with the same two ends. Only rounding differs, which `kmeans` keeps from
deciding anything.
"""

from dataclasses import dataclass

import numpy as np

MOST_POINTS = 300
"""With more points scikit-learn is as quick: here the work grows with their square."""

MOST_ITERATIONS = 300
TOLERANCE = 1e-4
"""Centres that moved by less, in units of the mean variance of the coordinates, have arrived."""


@dataclass(frozen=True)
class Points:
    """Weighted points by their inner products about their mean: float64[n, n] and float64[n]."""

    inner: np.ndarray
    weights: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The squared lengths: float64[n]."""
        return np.asarray(self.inner.diagonal())

    @property
    def between(self) -> np.ndarray:
        """The squared distances: float64[n, n]."""
        lengths = self.lengths
        return np.asarray(np.maximum(lengths[:, None] + lengths - 2 * self.inner, 0))


def kmeans_of_few(points: np.ndarray, weights: np.ndarray, groups: int, n_init: int, seed: int) -> np.ndarray | None:
    """The group of every point, as `sklearn.cluster.KMeans` with these arguments finds them: int[n].

    None where it must be asked, since a group becomes empty on the way: it then takes a far point, which is not
    repeated here.

    Args:
        points: float64[n, d].
        weights: float64[n].
        groups: how many to find, at most as many as there are distinct points.
        n_init: starts, of which the one with the smallest sum of squared distances counts.
        seed: of the random numbers.
    """
    centred = points - points.mean(axis=0)
    few = Points(centred @ centred.T, weights)
    tolerance = TOLERANCE * few.lengths.sum() / points.size
    found = _iterate(few, _first_centres(few, groups, n_init, seed), groups, tolerance)
    return None if found is None else _best(*found)


def _first_centres(points: Points, groups: int, n_init: int, seed: int) -> np.ndarray:
    """Points to start from: int[n_init, groups]. Of a few that chance proposes the best one is taken."""
    between, weights, each = points.between, points.weights, np.arange(n_init)
    trials = 2 + int(np.log(groups))
    chances = np.random.RandomState(seed).random_sample((n_init, 1 + (groups - 1) * trials))
    summed = (weights / weights.sum()).cumsum()
    centres = np.empty((n_init, groups), int)
    centres[:, 0] = np.searchsorted(summed / summed[-1], chances[:, 0], side="right")
    closest = between[centres[:, 0]]
    for group in range(1, groups):
        drawn = chances[:, 1 + (group - 1) * trials : 1 + group * trials] * (closest @ weights)[:, None]
        proposed = (np.cumsum(closest * weights, axis=1)[:, None, :] < drawn[:, :, None]).sum(axis=2)
        proposed = proposed.clip(max=len(weights) - 1)
        then_closest = np.minimum(closest[:, None, :], between[proposed])
        best = (then_closest @ weights).argmin(axis=1)
        centres[:, group], closest = proposed[each, best], then_closest[each, best]
    return centres


def _iterate(points: Points, first: np.ndarray, groups: int, tolerance: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Lloyd's iterations of every start: the groups int[n_init, n] and the sums of squared distances float64[n_init].

    A start ends where no point changes its group, or where its centres hardly move; then points go to the nearest of
    these last centres.
    """
    shares = np.eye(len(points.weights))[first]
    labels = np.full((len(first), len(points.weights)), -1)
    moving = np.arange(len(first))
    for _ in range(MOST_ITERATIONS):
        now = _nearest(points, shares[moving])
        new_shares = _means(points, now, groups)
        if new_shares is None:
            return None
        moved = new_shares - shares[moving]
        stays = (now == labels[moving]).all(axis=1)
        arrived = (_inner(points, moved) * moved).sum(axis=(1, 2)) <= tolerance
        labels[moving], shares[moving] = now, new_shares
        settling = moving[arrived & ~stays]
        labels[settling] = _nearest(points, shares[settling])
        moving = moving[~stays & ~arrived]
        if not len(moving):
            break
    else:
        labels[moving] = _nearest(points, shares[moving])
    distances = np.take_along_axis(_to_centres(points, shares), labels[:, None, :], axis=1)[:, 0]
    return labels, (distances + points.lengths) @ points.weights


def _to_centres(points: Points, shares: np.ndarray) -> np.ndarray:
    """Squared distances from every centre, less each point's squared length: float64[n_init, groups, n].

    A row of `shares`, float64[n_init, groups, n], says of which points a centre is the mean.
    """
    inner = _inner(points, shares)
    return np.asarray((inner * shares).sum(axis=2, keepdims=True) - 2 * inner)


def _inner(points: Points, shares: np.ndarray) -> np.ndarray:
    """The inner products of all centres of all starts with all points, by one product of matrices."""
    return np.asarray((shares.reshape(-1, shares.shape[-1]) @ points.inner).reshape(shares.shape))


def _nearest(points: Points, shares: np.ndarray) -> np.ndarray:
    return np.asarray(_to_centres(points, shares).argmin(axis=1))


def _means(points: Points, labels: np.ndarray, groups: int) -> np.ndarray | None:
    """The shares that points have in the means of their groups; None where a group has no point."""
    members = (labels[:, None, :] == np.arange(groups)[:, None]) * points.weights
    totals = members.sum(axis=2, keepdims=True)
    return None if (totals == 0).any() else np.asarray(members / totals)


def _best(labels: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """The groups with the smallest spread. Of starts that found the same groups the first one numbers them."""
    best = 0
    for start in range(1, len(labels)):
        if spreads[start] < spreads[best] and not _are_same(labels[start], labels[best]):
            best = start
    return np.asarray(labels[best])


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two groupings differ at most in the groups' numbers."""
    return len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist()))
