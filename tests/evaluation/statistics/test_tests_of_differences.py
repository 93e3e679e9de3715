"""The tests equal those of scipy and statsmodels, and none finds what is not there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import zt_ind_solve_power

from drp_ray.evaluation.statistics.resampling import swap_sums
from drp_ray.evaluation.statistics.tests_of_differences import holm, paired_t_p, permutation_p, smallest_effect

DIFFERENCES = st.lists(st.integers(-20, 20), min_size=1, max_size=9).map(lambda values: np.array(values, float))


def p_of_mean(differences, scale=1.0):
    """The exact p of a mean difference, from the sums over users who keep their runs."""
    differences = differences * scale
    swapped = 2 * swap_sums(differences[:, None], 0, 0)[:, 0] - differences.sum()
    return permutation_p(float(differences.sum()), swapped, is_exact=True)


@given(differences=DIFFERENCES.filter(lambda values: len(values) > 1))
@settings(max_examples=25)
def test_the_exact_p_is_scipys_of_all_sign_flips(differences):
    result = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert p_of_mean(differences) == pytest.approx(result.pvalue)


@given(differences=DIFFERENCES, scale=st.sampled_from([1 / 3, 0.1, 1e-7, 1e5]))
def test_rounding_decides_no_tie(differences, scale):
    assert p_of_mean(differences, scale) == p_of_mean(differences)


@given(differences=DIFFERENCES)
def test_no_p_is_below_what_the_number_of_users_allows(differences):
    assert p_of_mean(differences) >= min(2 * 0.5 ** len(differences), 1)


def test_of_random_swaps_the_observed_one_is_one_more():
    assert permutation_p(5.0, np.array([1.0, -2.0, 3.0]), is_exact=False) == 1 / 4
    assert permutation_p(2.0, np.array([1.0, -2.0, 3.0]), is_exact=False) == 3 / 4


def test_a_swap_without_a_number_makes_nothing_significant():
    assert permutation_p(5.0, np.array([np.nan] * 99), is_exact=False) == 1.0


@given(ps=st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=50)
def test_holm_is_that_of_statsmodels(ps):
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1], rel=1e-12, abs=1e-300)


def test_holm_of_no_test_is_none():
    assert holm([]) == []


def test_the_t_test_of_differences_is_scipys_of_two_runs():
    a, b = np.random.default_rng(0).random((2, 40))
    assert paired_t_p(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue)


@pytest.mark.parametrize("users", [10, 300])
def test_the_smallest_effect_is_what_a_test_finds_in_four_of_five_samples(users):
    expected = zt_ind_solve_power(nobs1=users, alpha=0.05, power=0.8, ratio=0)
    assert smallest_effect(1 / np.sqrt(users)) == pytest.approx(expected, rel=1e-4)
