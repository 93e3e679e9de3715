"""Halves part the users by distance, and gains are paired: nothing hangs on who is called what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.analyses.intervals import Draws
from drp_ray.evaluation.analyses.uniqueness import by_half, distances_from_centre, is_more_unique

DRAWS = Draws(100)
MATRICES = st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), max_size=12).map(
    lambda rows: np.array(rows, np.float64).reshape(len(rows), 3)
)


def test_the_distance_is_that_from_the_mean_of_all():
    means = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 6.0]])
    assert distances_from_centre(means) == pytest.approx([np.hypot(2, 2), 2, np.hypot(2, 4)], abs=1e-8)


@given(means=MATRICES, order=st.randoms(use_true_random=False))
def test_halves_part_the_users_however_they_are_called_and_equal_distances_stay_together(means, order):
    distances = distances_from_centre(means)
    unique = is_more_unique(distances)
    assert len(unique) == len(means) and unique.sum() <= (~unique).sum()
    if unique.any():
        assert distances[unique].min() > distances[~unique].max()
    places = list(range(len(means)))
    order.shuffle(places)
    assert np.array_equal(is_more_unique(distances_from_centre(means[places])), unique[places])
    one = {"m": distances * 2}
    other = {"m": means.sum(axis=1)}
    shuffled = {"m": one["m"][places]}, {"m": other["m"][places]}
    assert by_half(distances[places], *shuffled, DRAWS) == by_half(distances, one, other, DRAWS)


def test_half_of_the_users_are_more_unique_where_distances_differ():
    assert is_more_unique(np.arange(10.0)).tolist() == [False] * 5 + [True] * 5
    assert is_more_unique(np.arange(5.0)).tolist() == [False] * 3 + [True] * 2


@given(shift=st.integers(-3, 3))
def test_moving_or_turning_all_embeddings_changes_no_distance(shift):
    means = np.random.default_rng(0).normal(size=(20, 4))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    assert distances_from_centre(means @ turn + shift) == pytest.approx(distances_from_centre(means), abs=1e-8)


def test_the_gain_is_paired_and_a_user_without_a_score_in_one_run_is_in_none_of_its_numbers():
    distances = np.array([1.0, 2.0, 3.0, 4.0])
    one = {"m": np.array([0.5, np.nan, 0.9, 0.7])}
    other = {"m": np.array([0.4, 0.1, 0.5, np.nan])}
    found = by_half(distances, one, other, DRAWS)["measures"]["m"]
    assert found["missing"] == 2
    assert (found["less_unique"]["gain"], found["less_unique"]["n"]) == (pytest.approx(0.1), 1)
    assert (found["more_unique"]["mean_a"], found["more_unique"]["mean_b"]) == (0.9, 0.5)
    assert found["contrast"]["difference"] == pytest.approx(0.3)


def test_a_gain_that_only_unique_users_have_is_found():
    generator = np.random.default_rng(2)
    distances = generator.uniform(size=400)
    base = generator.normal(size=400)
    one = base + 0.3 * is_more_unique(distances) + generator.normal(0, 0.1, 400)
    found = by_half(distances, {"m": one}, {"m": base}, Draws(500))["measures"]["m"]
    assert found["more_unique"]["ci95"][0] > 0.25 and abs(found["less_unique"]["gain"]) < 0.03
    assert found["contrast"]["ci95"][0] > 0.2
