"""Rows that failed improve no number: runs are compared on common users, and failures also count as empty texts."""

from pathlib import Path

import pyarrow as pa
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import open_metrics, score_rows, scores_schema
from drp_ray.evaluation.user_scores import UserScores, common_numbers, common_users

METRICS = [metric for metric in open_metrics(Evaluation(), Path("/nowhere")) if metric.name != "meteor"]
TEXTS = st.lists(st.sampled_from(["the", "car", "runs", "well.", "é"]), min_size=1, max_size=9).map(" ".join)
ROWS = st.lists(st.tuples(st.none() | TEXTS, TEXTS, st.sampled_from(["dpl", "intsum"])), min_size=1, max_size=8)


def scores_of(rows, order=None):
    """The scores of users u0, u1, … with a prediction (None: failed), a reference and the method that ran."""
    predictions = pa.table(
        {
            "user_id": [f"u{n}" for n in range(len(rows))],
            "method": [method for _, _, method in rows],
            "status": ["error" if text is None else "ok" for text, _, _ in rows],
            "reference": [true for _, true, _ in rows],
        }
    )
    scored = score_rows(METRICS, [text for text, _, _ in rows], [true for _, true, _ in rows])
    table = pa.Table.from_pylist([{"user_id": f"u{n}", **row} for n, row in enumerate(scored)], scores_schema())
    return UserScores.join(predictions, table.take(order) if order else table)


def test_which_users_failed_decides_no_comparison():
    """One sentence for everybody, and a quarter refused: whoever loses the hard users is not ahead."""
    references = ["the car runs well."] * 2 + ["nothing here is alike"] * 2
    dpl = scores_of(
        [("the car runs", true, "dpl") if n != 3 else (None, true, "dpl") for n, true in enumerate(references)]
    )
    rag = scores_of(
        [("the car runs", true, "rag") if n != 0 else (None, true, "rag") for n, true in enumerate(references)]
    )
    assert dpl.numbers(METRICS)["rouge1"].value > rag.numbers(METRICS)["rouge1"].value
    shared = common_users([dpl, rag])
    assert shared == {"u1", "u2"}
    assert dpl.numbers(METRICS, shared) == rag.numbers(METRICS, shared)
    assert {number.n for number in dpl.numbers(METRICS, shared).values()} == {2}


USERS = st.sets(st.integers(0, 3))


@given(failed=st.lists(USERS, min_size=2, max_size=3), lacking=USERS)
def test_neither_failures_nor_missing_values_decide_a_comparison(failed, lacking):
    """One sentence for everybody: whoever lacks the hard users, or a metric of them, is not ahead."""
    references = ["the car runs well."] * 2 + ["nothing here is alike"] * 2
    runs = [
        scores_of([(None if n in gone else "the car runs", true, "rag") for n, true in enumerate(references)])
        for gone in failed
    ]
    table = runs[0].table
    values = [None if n in lacking else value for n, value in enumerate(table["rouge1"].to_pylist())]
    place = table.column_names.index("rouge1")
    runs[0] = UserScores(table.set_column(place, "rouge1", pa.array(values, pa.float64())))
    found = common_numbers(runs, [METRICS] * len(runs))
    assert all(other["rougeL"] == found[0]["rougeL"] for other in found)
    there = common_users(runs)
    having = there - {f"u{n}" for n in lacking}
    assert found[0]["rouge1"].n == len(having) and {each["rougeL"].n for each in found} == {len(there)}
    if having:
        assert all(other["rouge1"] == found[0]["rouge1"] for other in found)
    else:  # a run that lacks the metric altogether takes no user from the others
        assert {each["rouge1"].n for each in found[1:]} == {len(there)}


@given(rows=ROWS)
def test_failures_as_empty_texts_are_those_of_a_run_that_wrote_empty_texts(rows):
    empty = scores_of([("" if text is None else text, true, method) for text, true, method in rows])
    expected, found = empty.numbers(METRICS), scores_of(rows).numbers_with_failures(METRICS)
    if any(text is not None for text, _, _ in rows):
        for name, number in expected.items():
            assert (found[name].value, found[name].n) == (pytest.approx(number.value), number.n)
    else:
        assert {number.value for number in found.values()} == {None}


@given(rows=ROWS, place=st.integers(0, 7))
def test_a_failed_row_never_helps(rows, place):
    place %= len(rows)
    failed = [(None if n == place else text, true, method) for n, (text, true, method) in enumerate(rows)]
    before, after = (scores_of(each).numbers_with_failures(METRICS) for each in (rows, failed))
    for name in ("rouge1", "rougeL"):
        assert (after[name].value or 0.0) <= (before[name].value or 0.0) + 1e-12


@given(rows=ROWS)
def test_scores_by_method_are_those_of_its_own_users(rows):
    found = scores_of(rows).by_method(METRICS)
    for method in ("dpl", "intsum"):
        own = [row for row in rows if row[2] == method and row[0] is not None]
        assert (method in found) == bool(own)
        if own:
            assert found[method] == scores_of(own).numbers(METRICS)
            expected = sacrebleu.corpus_bleu([text for text, _, _ in own], [[true for _, true, _ in own]]).score
            assert found[method]["bleu"].value == pytest.approx(expected)


@given(rows=ROWS, seed=st.randoms())
def test_the_order_of_rows_changes_nothing(rows, seed):
    order = list(range(len(rows)))
    seed.shuffle(order)
    assert scores_of(rows, order).table == scores_of(rows).table


def test_a_metric_that_scored_nobody_has_no_number_even_with_failures():
    scores = scores_of([("a car", "a car", "dpl"), (None, "a car", "dpl")])
    every = open_metrics(Evaluation(), Path("/nowhere"))
    assert scores.numbers_with_failures(every)["meteor"] == (None, 0)
    assert scores.numbers_with_failures(every)["rouge1"] == (0.5, 2)


@given(rows=ROWS)
def test_rank_correlations_are_scipys_over_the_ok_users(rows):
    found = scores_of(rows).rank_correlations(["rouge1", "length_ratio"])["rouge1"]["length_ratio"]
    ok = scores_of([row for row in rows if row[0] is not None]).table if any(row[0] for row in rows) else None
    values = [] if ok is None else [ok[name].to_pylist() for name in ("rouge1", "length_ratio")]
    if ok is None or len(ok) < 3 or any(len(set(column)) == 1 for column in values):
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(*values).statistic, abs=1e-12)


def test_a_rank_correlation_is_over_the_users_who_have_both_values():
    scores = scores_of([("a car " * n, "a car", "dpl") for n in range(1, 6)])
    found = scores.with_columns({"author": pa.chunked_array([[1.0, None, 2.0, 3.0, None]])})
    assert found.rank_correlations(["length_ratio", "author"])["author"]["length_ratio"] == pytest.approx(1)
    few = scores.with_columns({"author": pa.chunked_array([[1.0, None, 2.0, None, None]])})
    assert few.rank_correlations(["length_ratio", "author"])["author"]["length_ratio"] is None
