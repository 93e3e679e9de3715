"""What sets a user apart reaches the review: measured with the sample writer on users that it was not trained on.

The writer's likeliest words are taken, and what is asserted is several standard errors from what would fail. These
fail where differences, the summary or the past reviews do not reach the review or are somebody else's, and where users
are compared with people of their own group, and where validation keeps what is false. By how much validation makes the
writer's own differences truer is smaller than the noise of so few users: `benchmarks/information_path.py` measures it,
and docs/sample_writer.md says it.
"""

import pytest

from benchmarks.information_path import (
    OTHER_USER,
    OTHERS,
    SEED,
    follow,
    gains,
    mixed_table,
    representatives_table,
)

N_USERS = 64


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The quickstart's job on generated users, and what the methods write for them."""
    return follow(tmp_path_factory.mktemp("path"), N_USERS, SEED)


@pytest.mark.parametrize("method", ["drp", "rag", "intsum"])
def test_what_is_known_of_a_user_makes_the_review_more_like_theirs(followed, method):
    gain = gains(followed, method, "nonperso")["traits"]
    assert gain.low > 0, gain


def test_differences_of_somebody_else_make_the_review_less_like_the_users(followed):
    """Although the past reviews are the user's own: what sets the user apart reaches the review by the summary."""
    gain = gains(followed, "drp", OTHERS)["traits"]
    assert gain.low > 0, gain


@pytest.mark.parametrize("score", ["traits", "rouge1"])
def test_what_is_known_of_somebody_else_helps_nobody(followed, score):
    gain, left = (gains(followed, *pair)[score] for pair in (("drp", OTHER_USER), (OTHER_USER, "nonperso")))
    assert gain.low > 0, gain
    assert left.mean < gain.mean / 2, (left, gain)


def test_the_differences_reach_the_summary(followed):
    """With somebody else's it describes the user less truly, although the past reviews are the user's own."""
    gain = gains(followed, "drp", OTHERS)["summary"]
    assert gain.low > 0, gain


def test_validation_keeps_what_is_true_of_a_list_with_false_differences(followed):
    table = mixed_table(followed)
    assert table["gain in precision"]["low"] > 0.1, table
    assert table["kept"]["recall"] > table["noted"]["recall"] - 0.1, table


def test_users_are_compared_with_people_of_other_groups(followed):
    pairs = [(row["cluster"], other["cluster"]) for row in followed.comparisons for other in row["representatives"]]
    assert pairs and all(own != other for own, other in pairs)


def test_kmeans_representatives_show_as_many_true_differences_as_random_ones(followed):
    table = representatives_table(followed)
    assert table["kmeans - random"]["high"] >= 0, table
