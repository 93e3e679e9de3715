"""K-means of few points: the groups, and their numbers, are scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from drp_ray.config import Selection
from drp_ray.stages.strategies import kmeans as strategy
from drp_ray.stages.strategies.few_points import Points, _iterate, kmeans_of_few
from drp_ray.stages.strategies.kmeans import WEIGHT_STEP, count_distinct


def drawn_points(n, width, topics, seed):
    """Points as embeddings lie: on the unit sphere, about a few topics, in float32."""
    rng = np.random.default_rng(seed)
    points = 2 * rng.normal(size=(topics, width))[rng.integers(topics, size=n)] + rng.normal(size=(n, width))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)


POINTS = st.builds(drawn_points, st.integers(1, 60), st.integers(2, 40), st.integers(1, 6), st.integers(0, 10**6))


def weights_of(points):
    return 1 - WEIGHT_STEP * np.arange(len(points))


@settings(max_examples=150)
@given(POINTS, st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_groups_are_those_of_scikit_learn_number_by_number(points, k, n_init, seed):
    groups = count_distinct(points, at_most=k + 1)
    found = kmeans_of_few(points, weights_of(points), groups, n_init, seed)
    plain = KMeans(groups, random_state=seed, n_init=n_init).fit_predict(points, sample_weight=weights_of(points))
    assert found is None or found.tolist() == plain.tolist()


@settings(max_examples=25)
@given(POINTS, st.integers(0, 99))
def test_where_the_points_lie_changes_no_group(points, seed):
    groups = count_distinct(points, at_most=5)
    here, elsewhere = (
        kmeans_of_few(places, weights_of(points), groups, 3, seed) for places in (points, points + 3 * points[0])
    )
    assert np.array_equal(here, elsewhere)


def test_groups_are_found_for_nearly_all_items():
    """A group that becomes empty is rare among embeddings: scikit-learn is asked for hardly any item."""
    items = [drawn_points(20, 16, 4, seed) for seed in range(200)]
    assert all(kmeans_of_few(points, weights_of(points), 5, 10, 42) is not None for points in items)


@pytest.mark.parametrize("seed", range(12))
def test_a_start_whose_centres_hardly_move_ends_as_in_scikit_learn(seed):
    """On a line full of points, a point in 290 that changes its group moves a centre by less than the tolerance."""
    points = np.random.default_rng(seed).uniform(size=(290, 1))
    plain = KMeans(3, random_state=1, n_init=1).fit_predict(points, sample_weight=weights_of(points))
    assert kmeans_of_few(points, weights_of(points), 3, 1, 1).tolist() == plain.tolist()


def test_a_group_that_becomes_empty_is_left_to_scikit_learn(monkeypatch):
    points = drawn_points(20, 8, 3, 0)
    centred = points - points.mean(axis=0)
    twice_the_same = np.array([[0, 1, 2], [0, 0, 2]])
    assert _iterate(Points(centred @ centred.T, weights_of(points)), twice_the_same, 3, 0.0) is None
    monkeypatch.setattr(strategy, "kmeans_of_few", lambda *arguments: None)
    chosen = Selection(k=4)
    plain = KMeans(5, random_state=chosen.seed, n_init=10).fit_predict(points, sample_weight=weights_of(points))
    assert strategy._kmeans(points, chosen).tolist() == plain.tolist()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_as_many_groups_as_points_give_each_point_its_own(n):
    points = drawn_points(n, 8, 3, n)
    assert sorted(kmeans_of_few(points, weights_of(points), n, 10, 0).tolist()) == list(range(n))
