"""Bins part the users: each is in one bin, equal numbers are together, and a failed one is counted as missing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.analyses.bins import BINS, MOST_VALUES, binned, bins_of
from drp_ray.evaluation.analyses.intervals import Draws

NUMBERS = st.lists(st.integers(-3, 40) | st.floats(0, 9, allow_nan=False), max_size=60).map(
    lambda numbers: np.array(numbers, np.float64)
)


@given(numbers=NUMBERS)
def test_every_user_is_in_one_bin_with_its_equals(numbers):
    bins = bins_of(numbers)
    assert sum(found.members.astype(int) for found in bins).tolist() == [1] * len(numbers) if bins else not len(numbers)
    for found in bins:
        assert found.members.any()
        assert np.array_equal(found.members, (found.low <= numbers) & (numbers <= found.high))
        assert {found.low, found.high} <= set(numbers)
    assert [found.low for found in bins] == sorted(found.low for found in bins)
    few = len(np.unique(numbers)) <= MOST_VALUES
    assert len(bins) == len(np.unique(numbers)) if few else len(bins) <= BINS


@given(numbers=NUMBERS, order=st.randoms(use_true_random=False))
def test_the_order_of_users_changes_no_bin(numbers, order):
    places = list(range(len(numbers)))
    order.shuffle(places)
    scores = numbers * 2 + 1
    draws = Draws(50)
    assert binned(numbers[places], {"m": scores[places]}, draws) == binned(numbers, {"m": scores}, draws)


def test_quarters_are_quarters_where_numbers_differ():
    assert [int(found.members.sum()) for found in bins_of(np.arange(100.0))] == [25] * 4


def test_a_failed_user_stays_in_its_bin_and_in_no_mean():
    found = binned(np.array([1.0, 1.0, 2.0]), {"m": np.array([0.5, np.nan, np.nan])}, Draws(50))
    assert [(each["users"], each["measures"]["m"]["n"], each["measures"]["m"]["missing"]) for each in found] == [
        (2, 1, 1),
        (1, 0, 1),
    ]
    assert [each["measures"]["m"]["mean"] for each in found] == [0.5, None]
