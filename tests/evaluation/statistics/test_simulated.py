"""On simulated users whose truth is known, intervals hold it and tests cry wolf as often as they say.

`benchmarks/statistics.py` does the same with 1,000 samples. With these, a wrong centre (twice the false positives) or
an error of the square root of the number of draws (no coverage at all) is still far outside the bounds.
"""

from benchmarks.statistics import CORPUS, MEAN, coverage, coverage_of_items, false_positives, power

SIMULATIONS, DRAWS, USERS = 250, 400, 100
FEWER = 200


def test_intervals_hold_the_truth():
    held = coverage(SIMULATIONS, DRAWS, USERS)
    assert all(0.91 <= held[name] <= 0.985 for name in (MEAN, CORPUS)), held


def test_where_nothing_differs_one_test_in_twenty_says_it_does():
    found = false_positives(SIMULATIONS, DRAWS, USERS)
    assert all(0.02 <= share <= 0.085 for share in found.values()), found


def test_the_smallest_effect_is_found_in_four_of_five_samples():
    found = power(FEWER, DRAWS, USERS)
    assert 0.7 <= found[MEAN] <= 0.9, found


def test_where_users_of_an_item_are_alike_only_the_interval_by_item_holds_the_truth():
    held = coverage_of_items(FEWER, DRAWS, 160)
    assert held["by item"] >= 0.88 and held["plain"] <= 0.86, held
