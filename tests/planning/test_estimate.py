"""Totals from a sample: exact where nothing is left open, honest where something is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.planning.estimate import Strata, nothing, total_of

NUMBERS = st.floats(0, 1e6, allow_nan=False)
USERS = st.lists(st.tuples(NUMBERS, st.integers(1, 9), st.integers(0, 2)), min_size=2, max_size=30)


def everyone(users):
    kinds = np.array([kind for _, _, kind in users])
    return Strata(kinds, np.arange(len(users))), *(
        np.array(column, float) for column in list(zip(*users, strict=True))[:2]
    )


@given(USERS)
def test_whoever_samples_everybody_knows_the_total(users):
    strata, values, per = everyone(users)
    total = total_of(values, per, strata)
    assert total.value == pytest.approx(values.sum())
    assert total.is_exact


@given(USERS, st.floats(0.5, 100), st.data())
def test_what_is_in_proportion_to_a_count_is_exact_from_any_sample(users, each, data):
    strata, _, per = everyone(users)
    kinds = strata.of_all
    one_of_each = [int(np.flatnonzero(kinds == kind)[0]) for kind in np.unique(kinds)]
    more = data.draw(st.sets(st.integers(0, len(users) - 1)))
    sampled = np.array(sorted({*one_of_each, *more}))
    total = total_of(per[sampled] * each, per, Strata(kinds, sampled))
    assert total.value == pytest.approx(per.sum() * each)
    assert total.standard_error <= 1e-6 * total.value


@given(USERS, st.permutations(range(30)), st.floats(0, 10))
def test_order_of_users_changes_nothing_and_totals_add_and_scale(users, order, factor):
    sampled = np.arange(0, len(users), 2)
    strata, values, per = everyone(users)
    total = total_of(values[sampled], per, Strata(strata.of_all, sampled))
    place = np.array([each for each in order if each < len(users)])
    moved = total_of(
        values[place][np.isin(place, sampled)],
        per[place],
        Strata(strata.of_all[place], np.flatnonzero(np.isin(place, sampled))),
    )
    assert moved.value == pytest.approx(total.value)
    assert moved.standard_error == pytest.approx(total.standard_error)
    scaled = total * factor + nothing(strata=Strata(strata.of_all, sampled))
    assert scaled.value == pytest.approx(total.value * factor)
    assert scaled.standard_error == pytest.approx(total.standard_error * factor)
    low, high = total.interval
    assert 0 <= low <= total.value <= high


def test_the_interval_holds_the_true_total_as_often_as_it_says():
    random = np.random.default_rng(0)
    n, drawn, held = 400, 60, 0
    kinds = random.choice([1, 2], n, p=[0.3, 0.7])
    per = random.integers(1, 9, n).astype(float)
    values = per * random.lognormal(4, 0.5, n)
    for _ in range(400):
        sampled = np.sort(random.choice(n, drawn, replace=False))
        low, high = total_of(values[sampled], per, Strata(kinds, sampled)).interval
        held += low <= values.sum() <= high
    assert 0.90 <= held / 400 <= 0.98
