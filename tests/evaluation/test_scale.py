"""An answer is read where it says a score and nothing else; whatever leaves a doubt is missing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.scale import SCALES

NUMBERS, LETTERS = SCALES["numbers"], SCALES["letters"]
scores = st.integers(0, 10)
labels = st.sampled_from([*NUMBERS.labels, *LETTERS.labels])


EIGHT = """8|8.|8/10|8 / 10|8 out of 10|Score: 8|score = 8|**8**|**Score:** 8/10|"8"|**Score: 8**|[Score]: 8
Final score: 8|Answer: 8|`8`|Score：8| 8 """
UNREADABLE = """| |7.5|8.0|11|100|-3|+8|8 or 9|8-9|8/5|8/100|8 9|1 0|1*0|08|８|eight|I would give it an 8
8 because it is alike|Score:|A|8%|8,5|{"answer": "8"|Score: 7.5|10/10/2020|8 out of 100|<think>8|٨"""


def split(answers):
    return [answer for line in answers.split("\n") for answer in line.split("|")]


@pytest.mark.parametrize("answer", split(EIGHT))
def test_these_are_8(answer):
    assert NUMBERS.read(answer) == 8


@pytest.mark.parametrize("answer", [*split(UNREADABLE), "8\n\nThe tone differs."])
def test_these_cannot_be_read(answer):
    assert NUMBERS.read(answer) is None


@given(
    score=scores, before=st.sampled_from(["", "Score: ", "**", "Rating: **"]), after=st.sampled_from(["", "/10", "."])
)
def test_a_score_is_read_as_it_was_meant(score, before, after):
    assert NUMBERS.read(f"{before}{score}{after}") == score


@given(answer=st.text(), scale=st.sampled_from([NUMBERS, LETTERS]))
def test_any_text_is_a_score_in_range_or_missing(answer, scale):
    read = scale.read(answer)
    assert read is None or 0 <= read <= 10


@given(answer=st.text(alphabet="0123456789.,-+/ abcAK:*\n"))
def test_what_is_read_names_no_other_number(answer):
    read = NUMBERS.read(answer)
    if read is not None:
        digits = "".join(each if each.isdigit() else " " for each in answer).split()
        assert digits in ([str(read)], [str(read), "10"])
        assert "-" not in answer and "+" not in answer and "," not in answer


@given(score=scores, word=st.text(alphabet="abcdefgh ", min_size=1).filter(str.strip))
def test_a_score_with_a_word_of_prose_is_not_read(score, word):
    assert NUMBERS.read(f"{score} {word}") is None
    assert NUMBERS.read(f"{word} {score}") is None


def test_letters_are_read_on_their_own_scale_only():
    assert [LETTERS.read(label) for label in "ABCDEFGHIJK"] == list(range(11))
    assert LETTERS.read("Answer: **K**") == 10
    assert [LETTERS.read(answer) for answer in ("8", "L", "a", "A/10", "A or B", "AB")] == [None] * 6


weights = st.dictionaries(st.sampled_from(LETTERS.labels), st.floats(1e-6, 1.0), min_size=1)


@given(weights=weights, other=st.just(0.0) | st.floats(1e-6, 1), space=st.sampled_from(["", " ", "\n"]))
def test_the_expected_score_is_the_mean_over_labels_and_the_trust_their_mass(weights, other, space):
    total = math.fsum(weights.values()) + other
    logprobs = {f"{space}{label}": math.log(weight / total) for label, weight in weights.items()}
    logprobs["The"] = math.log(other / total) if other else -100.0
    expected = LETTERS.expected(logprobs)
    mean = sum(LETTERS.labels.index(label) * weight for label, weight in weights.items()) / sum(weights.values())
    assert expected.score == pytest.approx(mean)
    assert expected.format_trust == pytest.approx(sum(weights.values()) / total)
    assert 0 <= expected.score <= 10 and 0 <= expected.format_trust <= 1


@given(weights=weights, randomly=st.randoms())
def test_the_order_of_tokens_changes_nothing(weights, randomly):
    tokens = [(label, math.log(weight)) for label, weight in weights.items()]
    shuffled = list(tokens)
    randomly.shuffle(shuffled)
    assert LETTERS.expected(dict(tokens)) == LETTERS.expected(dict(shuffled))


def test_where_no_label_is_likely_nothing_is_expected():
    assert LETTERS.expected({"The": -0.1}) == (None, 0.0)
    assert LETTERS.expected({}) == (None, 0.0)
