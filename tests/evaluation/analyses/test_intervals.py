"""Means and correlations over users, and their intervals: those of scipy, whoever the users are."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.analyses.intervals import Draws, difference_of, mean_of, spearman
from drp_ray.evaluation.statistics import resampling

FEW = Draws(200, 7)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))
VALUES = st.lists(NUMBERS, max_size=12).map(lambda values: np.array(values, np.float64))


@given(values=VALUES, order=st.randoms(use_true_random=False))
def test_whoever_has_the_values_changes_no_digit(values, order):
    shuffled = values.copy()
    order.shuffle(shuffled)
    assert mean_of(shuffled, FEW) == mean_of(values, FEW)
    places = list(range(len(values)))
    order.shuffle(places)
    other = values[::-1] ** 2
    assert spearman(values[places], other[places], FEW) == spearman(values, other, FEW)
    assert difference_of(shuffled, other, FEW) == difference_of(values, other, FEW)


@given(values=VALUES)
def test_an_interval_holds_its_estimate_and_lies_between_the_values(values):
    found = mean_of(values, FEW)
    assert found.n == len(values)
    if len(values) < 2:
        assert found.ci95 is None
        return
    low, high = found.ci95
    assert low <= found.value <= high
    slack = 1e-9 * max(1, np.abs(values).max())
    assert values.min() - slack <= low and high <= values.max() + slack
    rho = spearman(values, np.roll(values, 1), FEW)
    if rho.ci95 is not None:
        assert -1 <= rho.ci95[0] <= rho.value <= rho.ci95[1] <= 1


def test_the_interval_of_a_mean_is_that_of_scipy():
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = mean_of(values, Draws(4000, 1))
    expected = scipy.stats.bootstrap([values], np.mean, n_resamples=4000, method="percentile", rng=2)
    assert found.value == pytest.approx(values.mean())
    assert found.ci95 == pytest.approx(tuple(expected.confidence_interval), abs=0.02)
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * 1.96 * values.std() / math.sqrt(400), rel=0.06)


def test_95_percent_of_the_intervals_hold_the_truth():
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        low, high = mean_of(generator.normal(0, 1, 80), Draws(400, 1)).ci95
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 0.975


@given(values=st.lists(st.integers(0, 5), min_size=3, max_size=12), seed=st.integers(0, 99))
def test_rank_correlations_are_those_of_scipy_with_ties(values, seed):
    one = np.array(values, np.float64)
    other = np.random.default_rng(seed).integers(0, 4, len(one)).astype(np.float64)
    found = spearman(one, other, FEW)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert (found.value, found.ci95) == (None, None)
    else:
        assert found.value == pytest.approx(scipy.stats.spearmanr(one, other).statistic)


def test_a_difference_between_groups_is_that_of_their_means_and_draws_each_group_by_itself():
    generator = np.random.default_rng(5)
    one, other = generator.normal(2, 1, 300), generator.normal(0, 1, 300)
    found = difference_of(one, other, Draws(2000, 1))
    assert found.value == pytest.approx(one.mean() - other.mean())
    half = 1.96 * math.sqrt(one.var() / 300 + other.var() / 300)
    assert found.ci95 == pytest.approx((found.value - half, found.value + half), abs=0.03)
    assert difference_of(one[:0], other, FEW).value is None
    assert difference_of(one[:1], other, FEW).ci95 is None


def test_how_many_samples_are_drawn_at_once_depends_on_memory_only(monkeypatch):
    whole = [mean_of(np.arange(50.0), Draws(n, 1)) for n in (1, 7, 100)]
    monkeypatch.setattr(resampling, "NUMBERS_AT_ONCE", 120)
    assert [mean_of(np.arange(50.0), Draws(n, 1)) for n in (1, 7, 100)] == whole
