"""Copies of the profile are found wherever they are, and only within one review; lengths and repetitions by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import METRICS, open_metrics, score_rows
from drp_ray.evaluation.metrics.copying import copied_share, longest_copy
from drp_ray.evaluation.words import words_of

WORDS = st.lists(st.sampled_from("abcd"), max_size=14)
REVIEWS = st.lists(WORDS, max_size=3)


def runs(words, length):
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def plainly(prediction, profile, at_least):
    """The copied share and the longest copy, from all runs of words."""
    known = set().union(*(runs(review, at_least) for review in profile))
    copied = set()
    for start in range(len(prediction) - at_least + 1):
        if tuple(prediction[start : start + at_least]) in known:
            copied |= set(range(start, start + at_least))
    lengths = [
        n for n in range(1, len(prediction) + 1) if runs(prediction, n) & set().union(*(runs(r, n) for r in profile))
    ]
    return len(copied) / max(len(prediction), 1), max(lengths, default=0)


@settings(max_examples=200)
@given(prediction=WORDS, profile=REVIEWS, at_least=st.integers(1, 5))
def test_copies_are_those_of_a_plain_count(prediction, profile, at_least):
    text, reviews = " ".join(prediction), [" ".join(review) for review in profile]
    found = copied_share(text, reviews, at_least), longest_copy(text, reviews)
    assert found == pytest.approx(plainly(prediction, profile, at_least))


@given(prediction=WORDS, profile=REVIEWS, order=st.randoms())
def test_the_order_of_the_profile_changes_nothing_and_more_profile_never_lowers_copies(prediction, profile, order):
    text, reviews = " ".join(prediction), [" ".join(review) for review in profile]
    found = copied_share(text, reviews, 3), longest_copy(text, reviews)
    shuffled = reviews.copy()
    order.shuffle(shuffled)
    assert (copied_share(text, shuffled, 3), longest_copy(text, shuffled)) == found
    assert copied_share(text, [*reviews, text], 3) >= found[0] and longest_copy(text, [*reviews, text]) == len(
        prediction
    )


def test_a_copy_does_not_cross_from_one_review_into_the_next():
    assert longest_copy("one two three four", ["one two", "three four"]) == 2
    assert copied_share("one two three four five", ["zero one two three", "four five six"], 5) == 0.0


def test_a_text_of_one_word_again_and_again_takes_no_time():
    assert longest_copy("a " * 5_000, ["a " * 4_000]) == 4_000


def test_the_shortest_run_is_a_setting(tmp_path):
    def rate(**settings):
        (copy,) = [
            m for m in open_metrics(Evaluation(metrics={"copy_rate": settings}), tmp_path) if m.name == "copy_rate"
        ]
        return copy.score("the best of it all", "x", ["It is the best of all"])["copy_rate"]

    assert (rate(), rate(min_words=3)) == (0.0, 0.6)


def test_the_profile_goes_to_the_metrics_that_read_it_and_rows_without_prediction_take_none_along(metrics):
    opened = [metrics[name] for name in ("longest_copy", "length_ratio")]
    rows = score_rows(opened, ["a b", None, "c d"], ["x", "x", "x"], [["a b c"], ["c d"], ["c"]])
    assert [row["longest_copy"] for row in rows] == [2.0, None, 1.0]
    assert [row["length_ratio"] for row in rows] == [2.0, None, 2.0]


def test_lengths_and_repetitions_by_hand(metrics):
    assert metrics["length_ratio"].score("one two three", "a  b") == {"length_ratio": 1.5}
    assert metrics["length_ratio"].score("one two", "") == {"length_ratio": 2.0}
    assert metrics["distinct1"].score("So good, so GOOD!", "") == {"distinct1": 0.5}
    assert metrics["distinct2"].score("So good, so GOOD!", "") == {"distinct2": 2 / 3}
    assert [metrics[name].score("", "a")[name] for name in ("distinct1", "distinct2")] == [0.0, 0.0]


def test_words_are_found_in_any_script():
    assert words_of("Don't stop: déjà-vu, 音楽 5!") == ["don't", "stop", "déjà", "vu", "音楽", "5"]


def test_every_metric_says_which_values_are_better():
    assert {name for name, cls in METRICS.items() if cls.better == "higher"} == {
        "rouge1", "rougeL", "bleu", "meteor", "embedding_similarity"
    }  # fmt: skip
    assert {cls.better for cls in METRICS.values()} == {"higher", "none"}
