"""The stage `scores`: every row has its scores, and how rows are cut into parts changes no number."""

import asyncio
from pathlib import Path

import pyarrow as pa
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics import base
from drp_ray.evaluation.metrics.base import open_metrics, scores_schema
from drp_ray.stages.scores import Score, reported
from drp_ray.storage.parts import add_up

TEXTS = st.lists(st.sampled_from(["the", "car", "runs", "well.", "é", "A-b"]), max_size=12).map(" ".join)
ROWS = st.lists(st.tuples(st.none() | TEXTS, TEXTS), min_size=1, max_size=8)


@pytest.fixture(scope="module", autouse=True)
def without_meteor():
    """METEOR needs a dictionary; it has tests of its own."""
    kept = dict(base.METRICS)
    del base.METRICS["meteor"]
    yield
    base.METRICS.clear()
    base.METRICS.update(kept)


def predictions(rows):
    return pa.Table.from_pylist(
        [{"user_id": f"u{n}", "prediction": text, "reference": true} for n, (text, true) in enumerate(rows)],
        schema.PREDICTIONS,
    )


def scored(rows):
    """The output part of some rows, and its facts."""
    worker = Score(Evaluation(), Path("/nowhere"))

    async def work():
        await worker.start(lambda **counts: None)
        return await worker.work("part-00000.parquet", rows, None)

    made = asyncio.run(work())
    return made, worker.facts(made)


def test_a_user_without_prediction_has_nulls_and_lowers_no_count_of_others():
    made, facts = scored(predictions([("a car", "a car"), (None, "a car"), ("", "a car")]))
    assert made.schema == scores_schema()
    assert made["user_id"].to_pylist() == ["u0", "u1", "u2"]
    assert made["rouge1"].to_pylist() == [1.0, None, 0.0]
    assert facts["scored:rouge1"] == facts["scored:bleu"] == 2
    assert facts["retryable"] == 0


def test_what_only_some_metrics_scored_can_be_tried_again(monkeypatch):
    monkeypatch.setattr(base.METRICS["rougeL"], "missing", lambda self: "not here")
    _, facts = scored(predictions([("a car", "a car"), (None, "a car")]))
    assert (facts["scored:rouge1"], facts["scored:rougeL"], facts["retryable"]) == (1, 0, 1)
    assert reported(open_metrics(Evaluation(), Path()), facts)["rougeL"] is None


@given(rows=ROWS, cut=st.integers(0, 8))
def test_how_rows_are_cut_into_parts_changes_no_number(rows, cut):
    table = predictions(rows)
    whole, facts = scored(table)
    halves = [scored(part) for part in (table.slice(0, cut), table.slice(cut)) if part.num_rows]
    assert pa.concat_tables([made for made, _ in halves]).combine_chunks() == whole.combine_chunks()
    together = add_up(part for _, part in halves)
    metrics = open_metrics(Evaluation(), Path())
    assert reported(metrics, together) == pytest.approx(reported(metrics, facts))


@given(rows=ROWS)
def test_the_reported_bleu_is_sacrebleus_over_all_rows_with_a_prediction(rows):
    _, facts = scored(predictions(rows))
    texts = [(text, true) for text, true in rows if text is not None]
    bleu = reported(open_metrics(Evaluation(), Path()), facts)["bleu"]
    if not texts:
        assert bleu is None
    else:
        hypotheses, references = zip(*texts, strict=True)
        assert bleu == pytest.approx(sacrebleu.corpus_bleu(list(hypotheses), [list(references)]).score)
