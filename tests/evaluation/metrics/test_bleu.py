"""BLEU equals a count by hand, and sacrebleu's values of a sentence and of a corpus."""

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.evaluation.metrics.texts import PAIRS, TEXTS_PAIR


def column_sums(rows):
    return {name: sum(row[name] for row in rows) for name in rows[0]}


def test_bleu_statistics_by_hand(metrics):
    row = metrics["bleu"].score("the cat sat here", "the cat sat on it")
    assert [row[f"bleu_counts_{n}"] for n in (1, 2, 3, 4)] == [3, 2, 1, 0]
    assert [row[f"bleu_totals_{n}"] for n in (1, 2, 3, 4)] == [4, 3, 2, 1]
    assert (row["bleu_sys_len"], row["bleu_ref_len"]) == (4, 5)
    # The 4-gram without a match counts as one half (exponential smoothing); brevity exp(1 - 5/4).
    expected = 100 * math.exp(1 - 5 / 4) * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25
    assert row["bleu"] == pytest.approx(expected)
    assert metrics["bleu"].aggregate(row, 1) == pytest.approx(expected)


def test_bleu_of_the_same_text_is_100(metrics):
    assert metrics["bleu"].score("Quite a good record.", "Quite a good record.")["bleu"] == pytest.approx(100)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=PAIRS)
def test_bleu_from_sums_is_sacrebleus_corpus_value(metrics, pairs):
    rows = [metrics["bleu"].score(*pair) for pair in pairs]
    predictions, references = zip(*pairs, strict=True)
    expected = sacrebleu.corpus_bleu(list(predictions), [list(references)])
    sums = column_sums(rows)
    assert metrics["bleu"].aggregate(sums, len(rows)) == expected.score
    assert metrics["bleu"].aggregate({name: float(total) for name, total in sums.items()}, 1) == expected.score


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=TEXTS_PAIR)
def test_bleu_of_a_row_is_sacrebleus_sentence_value(metrics, pair):
    expected = sacrebleu.sentence_bleu(pair[0], [pair[1]], use_effective_order=True)
    assert metrics["bleu"].score(*pair)["bleu"] == expected.score


def test_the_signature_names_implementation_version_and_tokenizer(metrics):
    assert metrics["bleu"].signature == (
        f"sacrebleu corpus BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    )


def sums_of_draws(columns):
    """Sums of columns over draws, from a list of rows a draw."""
    return {name: np.array([sum(row[name] for row in rows) for rows in columns], float) for name in columns[0][0]}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=PAIRS, draws=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=5))
def test_bleu_of_many_draws_is_sacrebleus_corpus_value_of_each(metrics, pairs, draws):
    drawn = [[pairs[place % len(pairs)] for place in draw] for draw in draws]
    sums = sums_of_draws([[metrics["bleu"].score(*pair) for pair in draw] for draw in drawn])
    found = metrics["bleu"].aggregate_draws(sums, np.array([len(draw) for draw in drawn], float))
    for pairs_drawn, value in zip(drawn, found, strict=True):
        predictions, references = zip(*pairs_drawn, strict=True)
        assert value == sacrebleu.corpus_bleu(list(predictions), [list(references)]).score


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    statistics=st.lists(st.lists(st.integers(0, 3) | st.integers(0, 10**7), min_size=10, max_size=10), min_size=1),
)
def test_bleu_of_draws_equals_that_of_each_alone_for_any_sums(metrics, statistics):
    names = [field.name for field in metrics["bleu"].columns[1:]]
    sums = {name: np.array(column, float) for name, column in zip(names, zip(*statistics, strict=True), strict=True)}
    found = metrics["bleu"].aggregate_draws(sums, np.ones(len(statistics)))
    alone = [metrics["bleu"].aggregate(dict(zip(names, each, strict=True)), 1) for each in statistics]
    assert found.tolist() == alone


def test_bleu_of_a_draw_of_no_row_is_no_number(metrics):
    sums = {field.name: np.zeros(1) for field in metrics["bleu"].columns}
    assert math.isnan(metrics["bleu"].aggregate_draws(sums, np.zeros(1))[0])
    assert metrics["bleu"].aggregate_draws(sums, np.ones(1)).tolist() == [0.0]
