"""Compares the first of several runs with each other one, on the same users, for all measures at once.

A user is the unit that is drawn or swapped, with all of the user's executions, since these are not independent.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drp_ray.evaluation.statistics.measured import (
    Measured,
    aligned,
    averaged_first,
    is_mean,
    reported,
    total,
    user_differences,
)
from drp_ray.evaluation.statistics.resampling import Matrix, bootstrap_sums, is_exact, swap_sums
from drp_ray.evaluation.statistics.tests_of_differences import (
    Draws,
    holm,
    paired_t_p,
    percentile_interval,
    permutation_p,
    smallest_effect,
)

FEWEST_UNITS = 3
"""Users, or items, below which nothing can be said about how differences vary."""

FEWEST_FOR_INTERVAL = 6
"""Users from whom on a 95% interval can be true to its name: with fewer, differences of one sign are no rarity (6%)."""

NO_VARIATION = 1e-12
"""Relative to the numbers themselves, a difference or a standard error below this is rounding."""

TOO_FEW = f"fewer than {FEWEST_UNITS} users have a value"
TOO_FEW_ITEMS = f"the users' targets are fewer than {FEWEST_UNITS} items"
TOO_FEW_DRAWS = "fewer than two draws have a number"
ALL_EQUAL = "the difference is the same for all users"
NO_USERS = "no user has a value in all runs"
NO_MEAN = "the measure is no mean of the users' own values, which a t-test is about"
FEW = f"an interval from fewer than {FEWEST_FOR_INTERVAL} users is too narrow; rely on p_permutation"


@dataclass(frozen=True)
class Resampling:
    """How many draws of users, draws of items and random swaps are made, and what seeds them."""

    draws: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """What is known of the difference a - b; `notes` says of a number why it is None, or what to beware of."""

    a: str
    b: str
    n: int
    difference: float | None = None
    se: float | None = None
    ci95: tuple[float, float] | None = None
    ci95_by_item: tuple[float, float] | None = None
    p_permutation: float | None = None
    p_t: float | None = None
    p_holm: float | None = None
    smallest_effect: float | None = None
    notes: Mapping[str, str] | None = None


class _Evidence(NamedTuple):
    """What a pair's numbers are computed from: differences of draws of users, of items, and of random swaps."""

    by_user: Draws
    by_item: Draws
    swapped: Draws


def compare_runs(
    measured: Sequence[Measured], items: NDArray[np.int64], resampling: Resampling
) -> dict[str, list[Pair]]:
    """Compare the first run of every measure with each other one, by the measure's name.

    `items` numbers the item of each user's target: intervals are also made by drawing items with all their users. All
    runs and measures share the draws. Holm's family are the pairs of one measure.
    """
    if not measured or not len(items):
        return {each.measure.name: [Pair(a, b, 0, notes={"difference": NO_USERS}) for a, b in _pairs(each)]
                for each in measured}  # fmt: skip
    measured = [averaged_first(each) for each in measured]
    columns = _joined(measured)
    by_user = _split(bootstrap_sums(columns, resampling.draws, [resampling.seed, 0]), measured)
    by_item = _split(bootstrap_sums(_by_item(columns, items), resampling.draws, [resampling.seed, 1]), measured)
    swapped = _swapped(measured, resampling)
    compared = {}
    for each, users, drawn_items, swaps in zip(measured, by_user, by_item, swapped, strict=True):
        pairs = [
            _pair(each, a, b, items, _Evidence(users[a] - users[b], drawn_items[a] - drawn_items[b], swaps[b]))
            for a, b in _pairs(each)
        ]
        compared[each.measure.name] = _corrected(pairs)
    return compared


def _pairs(measured: Measured) -> list[tuple[str, str]]:
    first, *others = measured.runs
    return [(first, other) for other in others]


def _corrected(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with Holm's p values; a pair that could not be tested is none of the family."""
    tested = [pair.p_permutation for pair in pairs if pair.p_permutation is not None]
    corrected = iter(holm(tested))
    return [pair if pair.p_permutation is None else replace(pair, p_holm=next(corrected)) for pair in pairs]


def _pair(measured: Measured, a: str, b: str, items: NDArray[np.int64], evidence: _Evidence) -> Pair:
    measure = measured.measure
    has_value = np.any([matrix[:, 0] > 0 for matrix in (*measured.runs[a], *measured.runs[b])], axis=0)
    number_a, number_b = (reported(measure, [total(matrix) for matrix in measured.runs[run]])[0] for run in (a, b))
    n, difference = int(has_value.sum()), float(number_a - number_b)
    if not math.isfinite(difference):
        return Pair(a, b, n, notes={"difference": NO_USERS})
    scale = max(abs(float(number_a)), abs(float(number_b)))
    if abs(difference) <= NO_VARIATION * scale:
        difference = 0.0
    p = permutation_p(difference, evidence.swapped, is_exact(len(items)))
    pair = Pair(a, b, n, difference, p_permutation=p)
    if n < FEWEST_UNITS:
        return replace(pair, notes=dict.fromkeys(("se", "ci95", "ci95_by_item", "p_t", "smallest_effect"), TOO_FEW))
    differences = user_differences(measure, measured.runs[a], measured.runs[b]) if is_mean(measure) else None
    n_items = len(np.unique(items[has_value]))
    return _with_spread(pair, evidence, differences, scale, n_items)


def _with_spread(pair: Pair, evidence: _Evidence, differences: Draws | None, scale: float, n_items: int) -> Pair:
    """Add what follows from how the difference varies over users, and say of the rest why it does not."""
    by_user, by_items = (drawn[np.isfinite(drawn)] for drawn in (evidence.by_user, evidence.by_item))
    if len(by_user) < 2:
        lacking = ("se", "ci95", "ci95_by_item", "p_t", "smallest_effect")
        return replace(pair, notes=dict.fromkeys(lacking, TOO_FEW_DRAWS))
    se = _standard_error(by_user, differences)
    notes = {"ci95": FEW} if pair.n < FEWEST_FOR_INTERVAL else {}
    if se <= NO_VARIATION * scale:
        exact = None if pair.difference else (0.0, 0.0)
        notes |= dict.fromkeys(("ci95", "ci95_by_item", "p_t", "smallest_effect"), ALL_EQUAL)
        return replace(pair, se=0.0, ci95=exact, ci95_by_item=exact, notes=notes)
    by_item = None
    if n_items >= FEWEST_UNITS and len(by_items) > 1:
        by_item = percentile_interval(by_items)
    else:
        notes["ci95_by_item"] = TOO_FEW_ITEMS if n_items < FEWEST_UNITS else TOO_FEW_DRAWS
    if differences is None:
        notes["p_t"] = NO_MEAN
    return replace(
        pair,
        se=se,
        ci95=percentile_interval(by_user),
        ci95_by_item=by_item,
        p_t=None if differences is None else paired_t_p(differences),
        smallest_effect=smallest_effect(se),
        notes=notes,
    )


def _standard_error(drawn: Draws, differences: Draws | None) -> float:
    """Of a mean over users from their differences, of any other number from its bootstrapped values."""
    if differences is None:
        return float(np.std(drawn, ddof=1))
    return float(np.std(differences, ddof=1)) / math.sqrt(len(differences))


def _joined(measured: Sequence[Measured]) -> Matrix:
    return np.hstack([matrix for each in measured for matrices in each.runs.values() for matrix in matrices])


def _split(sums: Matrix, measured: Sequence[Measured]) -> Iterator[dict[str, Draws]]:
    """For every measure what each run reports of every draw, from the sums of all columns as `_joined` has them."""
    start = 0
    for each in measured:
        width, numbers = len(each.measure.columns) + 1, {}
        for run, matrices in each.runs.items():
            stops = [start + width * place for place in range(len(matrices) + 1)]
            numbers[run] = reported(each.measure, [sums[:, stop : stop + width] for stop in stops[:-1]])
            start = stops[-1]
        yield numbers


def _by_item(columns: Matrix, items: NDArray[np.int64]) -> Matrix:
    """Sums of the columns over the users of each item, in the items' order."""
    numbered = np.unique(items, return_inverse=True)[1]
    order = np.argsort(numbered, kind="stable")
    starts = np.flatnonzero(np.diff(numbered[order], prepend=-1))
    return np.asarray(np.add.reduceat(columns[order], starts, axis=0))


def _swapped(measured: Sequence[Measured], resampling: Resampling) -> Iterator[dict[str, Draws]]:
    """For every measure the difference of each pair after swaps at random, by the second run's name."""
    executions = [{b: aligned(each.runs[a], each.runs[b]) for a, b in _pairs(each)} for each in measured]
    differences = [a - b for pairs in executions for sides in pairs.values() for a, b in sides]
    if not differences:
        yield from ({} for _ in measured)
        return
    kept = swap_sums(np.hstack(differences), resampling.draws, [resampling.seed, 2])
    kept_of = iter(np.hsplit(kept, np.cumsum([matrix.shape[1] for matrix in differences])[:-1]))
    for each, pairs in zip(measured, executions, strict=True):
        swapped = {}
        for run, sides in pairs.items():
            moved = [(total(a), total(b), next(kept_of)) for a, b in sides]
            now_a = reported(each.measure, [b + kept for _, b, kept in moved])
            swapped[run] = now_a - reported(each.measure, [a - kept for a, _, kept in moved])
        yield swapped
