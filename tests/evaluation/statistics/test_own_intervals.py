"""Intervals of runs' own numbers: what they follow from, and what must not move them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.evaluation.judge import JudgeMeasure
from drp_ray.evaluation.statistics import Measured, Resampling
from drp_ray.evaluation.statistics.own_intervals import own_intervals

MEASURE = JudgeMeasure("score", "Score")
OTHER = JudgeMeasure("other", "Other")
DRAWS = Resampling(400, 0)
VALUES = st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=6, max_size=30)


def matrix(values) -> np.ndarray:
    """A row a user: whether there is a value, and the value."""
    return np.array([[0.0, 0.0] if value is None else [1.0, value / 100] for value in values]).reshape(-1, 2)


def interval(*executions, draws=DRAWS):
    return own_intervals([Measured(MEASURE, {"a": [matrix(each) for each in executions]})], draws)["score"].get("a")


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_it_lies_among_the_values_and_is_none_for_few_users(values):
    known = [value / 100 for value in values if value is not None]
    found = interval(values)
    assert (found is None) == (len(known) < 6)
    if found is not None:
        assert min(known) - 1e-12 <= found[0] <= found[1] <= max(known) + 1e-12


@settings(max_examples=30, deadline=None)
@given(VALUES, st.integers(1, 50))
def test_larger_values_move_it_by_as_much(values, by):
    found, moved = (
        interval(values),
        interval([None if value is None else value + by for value in values]),
    )
    if found is not None:
        assert moved == pytest.approx([end + by / 100 for end in found])


@settings(max_examples=30, deadline=None)
@given(VALUES, VALUES)
def test_executions_in_another_order_and_twice_the_same_are_the_same(one, other):
    size = min(len(one), len(other))
    one, other = one[:size], other[:size]
    assert interval(one, other) == pytest.approx(interval(other, one))
    assert interval(one, one) == pytest.approx(interval(one))


def test_equal_values_leave_no_doubt():
    assert interval([40] * 9) == pytest.approx((0.4, 0.4))


def test_it_is_as_wide_as_theory_says():
    values = np.random.default_rng(1).integers(0, 100, 400).tolist()
    low, high = interval(values, draws=Resampling(4000, 0))
    error = np.std(values, ddof=1) / 100 / np.sqrt(400)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert (low + high) / 2 == pytest.approx(np.mean(values) / 100, abs=error / 5)


def test_other_measures_and_runs_beside_change_nothing():
    values, others = [10, 20, 30, 40, 50, 60, 70], [5, 4, 3, 2, 1, 0, 9]
    measured = [
        Measured(OTHER, {"b": [matrix(others)]}),
        Measured(MEASURE, {"b": [matrix(others)], "a": [matrix(values)]}),
    ]
    assert own_intervals(measured, DRAWS)["score"]["a"] == pytest.approx(interval(values))
    assert own_intervals([], DRAWS) == {} and interval([]) is None
