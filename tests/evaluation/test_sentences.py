"""Sentences are split by a rule that loses no word."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.evaluation.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Really?! Yes... No.", ["Really?!", "Yes...", "No."]),
        (
            'He said "go." Then (he left.) "Why?" Nobody.',
            ['He said "go."', "Then (he left.)", '"Why?"', "Nobody."],
        ),
        ("Mr. Darcy met Dr. Who vs. Mrs. X. He won.", ["Mr. Darcy met Dr. Who vs. Mrs. X. He won."]),
        ("By J. R. R. Tolkien. Good.", ["By J. R. R. Tolkien.", "Good."]),
        ("It is 3.5 stars, e.g. this one. 5 stars.", ["It is 3.5 stars, e.g. this one.", "5 stars."]),
        ("Line one.\n\nLine two. Été.", ["Line one.", "Line two.", "Été."]),
        ("He is a star. Best.", ["He is a star.", "Best."]),
        ("", [""]),
        ("  \n", [""]),
    ],
)
def test_sentences_are_split_by_rule(text, sentences):
    assert split_sentences(text) == sentences


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_splitting_loses_nothing_but_white_space(text):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
