"""Draws are multinomial, swaps are fair or all there are, and how the work is cut into pieces changes nothing."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.statistics import resampling
from drp_ray.evaluation.statistics.resampling import bootstrap_sums, swap_sums


def test_every_draw_has_as_many_rows_as_there_are_each_with_the_same_chance():
    sums = bootstrap_sums(np.column_stack([np.ones(5), np.eye(5)]), 20_000, 1)
    assert set(sums[:, 0]) == {5.0}
    counts = sums[:, 1:]
    assert counts.mean(axis=0) == pytest.approx(1.0, abs=0.03)
    # Of multinomial counts: n p (1 - p) on the diagonal, - n p p beside it.
    assert np.cov(counts.T) == pytest.approx(np.where(np.eye(5), 0.8, -0.2), abs=0.04)


@given(
    columns=st.lists(st.integers(-9, 9), min_size=1, max_size=8).map(lambda values: np.array(values, float)[:, None])
)
def test_every_way_to_swap_few_users_is_there_once(columns):
    expected = sorted(sum(np.array(keeps) * columns[:, 0]) for keeps in product((0, 1), repeat=len(columns)))
    assert sorted(swap_sums(columns, 3, 0)[:, 0]) == expected


def test_many_users_are_swapped_by_independent_fair_coins():
    sums = swap_sums(np.eye(20), 20_000, 1)
    assert len(sums) == 20_000 and set(np.unique(sums)) == {0.0, 1.0}
    assert sums.mean(axis=0) == pytest.approx(0.5, abs=0.02)
    assert np.cov(sums.T) == pytest.approx(np.eye(20) / 4, abs=0.02)


@pytest.mark.parametrize("sums", [bootstrap_sums, swap_sums])
def test_pieces_of_another_size_and_columns_beside_change_no_sum(sums, monkeypatch):
    columns = np.random.default_rng(0).integers(9, size=(21, 3)).astype(float)
    before = sums(columns, 100, [7, 0])
    monkeypatch.setattr(resampling, "NUMBERS_AT_ONCE", 64)
    assert np.array_equal(sums(columns, 100, [7, 0]), before)
    assert np.array_equal(sums(columns[:, 1:], 100, [7, 0]), before[:, 1:])
    assert not np.array_equal(sums(columns, 100, [8, 0]), before)
