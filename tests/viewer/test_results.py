"""What a result's numbers are, from those of its executions."""

from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.viewer.results import OwnNumber, mean_of, own_numbers

VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=5)


@given(VALUES)
def test_a_mean_and_a_spread_are_over_all_executions_or_there_is_none(values):
    number = OwnNumber(tuple(values), (1,) * len(values))
    if None in values:
        assert number.value is None and number.spread is None
    else:
        assert number.value == pytest.approx(fmean(values))
        assert number.spread == (pytest.approx(stdev(values)) if len(values) > 1 else None)


@given(VALUES, st.randoms())
def test_the_order_of_executions_changes_no_mean(values, random):
    moved = random.sample(values, len(values))
    assert mean_of(values) == pytest.approx(mean_of(moved))


def metrics(rouge1, **more):
    found = {"metrics": {"rouge1": rouge1}, "scored": {"rouge1": 3}, "with_failures_as_empty": {"rouge1": rouge1 / 2}}
    return {**found, "judges": {}, **more}


def test_a_measure_that_an_execution_lacks_has_no_mean():
    judged = {"judges": {"judge": {"value": 0.5, "n": 3, "expected": None}}}
    numbers = own_numbers([metrics(0.2), metrics(0.4, **judged)])
    assert numbers["rouge1"].value == pytest.approx(0.3) and numbers["rouge1"].as_empty == pytest.approx(0.15)
    assert numbers["judge"].executions == (None, 0.5) and numbers["judge"].value is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_what_executions_compute_in_several_ways_has_their_numbers_and_none_in_common(values):
    numbers = own_numbers([metrics(value) for value in values], ["rouge1"])
    assert numbers["rouge1"].executions == tuple(values) and numbers["rouge1"].users == (3,) * len(values)
    assert {numbers["rouge1"].value, numbers["rouge1"].spread, numbers["rouge1"].as_empty} == {None}
