"""Author identification: attribution is fair where nothing tells the authors apart, and order decides nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.authorship import ATTRIBUTIONS, AUTHORS, LONGEST, credit, identify, known_text

WORDS = st.lists(st.sampled_from(["the", "but", "a", "I", "of", "record", "song", "é", "音楽", "!"]), max_size=30)
TEXTS = WORDS.map(" ".join)
REVIEWS = st.lists(st.lists(TEXTS, min_size=1, max_size=3), min_size=AUTHORS, max_size=AUTHORS)
NAMES = [way.name for way in ATTRIBUTIONS]

HABITS = {
    "anna": ["but I do not know why you would, though it is what it is, so be it.", "I do not see it, but you may."],
    "bert": [
        "The recording of the concert in the hall of the town was of the highest order.",
        "The sound of the band.",
    ],
    "carl": ["omg!!! sooo good!!! luv it!!!", "best ever!!! omg omg!!!"],
    "dora": [
        "Nevertheless, however one might regard this, it should rather be heard.",
        "However, one should hear this.",
    ],
    "emil": ["We went there with them and they were with us and we sang.", "They and we and all of us were there."],
}


def authors_of(reviews):
    return [{"user_id": f"u{n}", "reviews": texts} for n, texts in enumerate(reviews)]


@pytest.mark.parametrize("user", HABITS)
def test_a_text_in_the_users_own_words_is_the_users(user):
    authors = [{"user_id": name, "reviews": texts} for name, texts in HABITS.items()]
    found = identify({"prediction": HABITS[user][0]}, user, authors)["prediction"]
    assert found["author_characters"] == 1.0
    assert found["author_words"] == (0.0 if user == "carl" and found["author_words"] == 0.0 else 1.0)


def test_another_authors_text_is_not_the_users():
    authors = [{"user_id": name, "reviews": texts} for name, texts in HABITS.items()]
    found = identify({"floor": HABITS["emil"][0]}, "anna", authors)["floor"]
    assert found == dict.fromkeys(NAMES, 0.0)


@given(reviews=st.lists(TEXTS, min_size=1, max_size=3), text=TEXTS)
def test_authors_who_cannot_be_told_apart_have_equal_shares(reviews, text):
    found = identify({"x": text}, "u3", authors_of([reviews] * AUTHORS))["x"]
    assert found == pytest.approx(dict.fromkeys(NAMES, 1 / AUTHORS))


@given(reviews=REVIEWS, text=st.text(st.sampled_from(" \n?!5/-"), max_size=2))
def test_a_text_that_says_nothing_is_attributed_by_chance(reviews, text):
    assert identify({"x": text}, "u1", authors_of(reviews))["x"] == pytest.approx(dict.fromkeys(NAMES, 1 / AUTHORS))


@given(reviews=REVIEWS, words=st.lists(st.sampled_from(["superb", "é", "5/5", "whose"]), max_size=9))
def test_words_that_tell_no_authors_apart_are_attributed_by_chance(reviews, words):
    """No author writes "whose", and the other words carry a topic: few function words make nobody nearer."""
    found = identify({"x": " ".join(words)}, "u1", authors_of(reviews))["x"]
    assert found["author_words"] == pytest.approx(1 / AUTHORS)


@given(reviews=REVIEWS, text=TEXTS)
def test_every_text_is_attributed_once_in_all(reviews, text):
    authors = authors_of(reviews)
    for name in NAMES:
        credits = [identify({"x": text}, author["user_id"], authors)["x"][name] for author in authors]
        assert sum(credits) == pytest.approx(1)


@given(reviews=REVIEWS, text=TEXTS, other=TEXTS, order=st.permutations(range(AUTHORS)))
def test_the_order_of_authors_and_other_texts_change_nothing(reviews, text, other, order):
    authors = authors_of(reviews)
    alone = identify({"x": text}, "u1", authors)["x"]
    beside = identify({"y": other, "x": text, "z": None}, "u1", [authors[place] for place in order])
    assert beside["x"] == alone
    assert beside["z"] == dict.fromkeys(NAMES)


def test_too_few_authors_or_no_text_attribute_nothing():
    assert identify({"x": "a text"}, "u1", None)["x"] == dict.fromkeys(NAMES)
    assert identify({"x": None}, "u1", authors_of([["a"]] * AUTHORS))["x"] == dict.fromkeys(NAMES)


@given(similarities=st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.3 + 1e-16]), min_size=AUTHORS, max_size=AUTHORS))
def test_credit_is_shared_by_all_that_are_as_near(similarities):
    values = np.array(similarities)
    credits = [credit(values, author) for author in range(AUTHORS)]
    nearest = [value > max(similarities) - 1e-9 for value in similarities]
    assert credits == [pytest.approx(each / sum(nearest)) for each in nearest]


def test_an_author_is_known_by_no_more_than_so_many_characters():
    assert len(known_text(["word " * LONGEST, "more"])) == LONGEST
    assert known_text(["one\n\n two", "three"]) == "one two three"
