"""The stage `scores`: every row has its scores, and how rows are cut into parts changes no number."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics import base
from drp_ray.evaluation.metrics.base import open_metrics, scores_schema, signatures
from drp_ray.stages.scores import SCORES, Score, reported
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import add_up, commit_part

DESCRIBING = ["copy_rate", "longest_copy", "distinct1", "distinct2", "length_ratio"]
COMPARING = ["rouge1", "rougeL", "bleu"]
TEXTS = st.lists(st.sampled_from(["the", "car", "runs", "well.", "é", "A-b"]), max_size=12).map(" ".join)
ROWS = st.lists(st.tuples(st.none() | TEXTS, TEXTS), min_size=1, max_size=8)
BLEU = [
    "bleu", "bleu_counts_1", "bleu_counts_2", "bleu_counts_3", "bleu_counts_4",
    "bleu_totals_1", "bleu_totals_2", "bleu_totals_3", "bleu_totals_4", "bleu_sys_len", "bleu_ref_len",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def without_meteor():
    """METEOR needs a dictionary; it has tests of its own."""
    kept = dict(base.METRICS)
    del base.METRICS["meteor"]
    yield kept
    base.METRICS.clear()
    base.METRICS.update(kept)


def predictions(rows):
    return pa.Table.from_pylist(
        [{"user_id": f"u{n}", "prediction": text, "reference": true} for n, (text, true) in enumerate(rows)],
        schema.PREDICTIONS,
    )


PROFILE = ["the car runs well and so does mine", "another text"]


@pytest.fixture(scope="module", autouse=True)
def users(tmp_path_factory):
    """A part of users for all predictions of this module; everybody has the same profile."""
    review = {"item_id": "i", "rating": 4.0, "title": "t", "timestamp": 1}
    profile = [{**review, "text": text} for text in PROFILE]
    rows = [{"user_id": f"u{n}", "profile": profile, "target": {**review, "text": "x"}} for n in range(12)]
    folder = LocalFolder(tmp_path_factory.mktemp("users"))
    commit_part(folder, PART, pa.Table.from_pylist(rows, schema.USERS), {}, "")
    USERS.append(folder)


PART = "part-00000.parquet"
USERS = []


def scored(rows):
    """The output part of some rows, and its facts."""
    worker = Score(Evaluation(), Path("/nowhere"), USERS[-1])

    async def work():
        await worker.start(lambda **counts: None)
        return await worker.work(PART, rows, None)

    made = asyncio.run(work())
    return made, worker.facts(made)


def reported_from(facts):
    return reported(open_metrics(Evaluation(), Path()), facts)


def test_the_columns_of_the_published_metrics_keep_their_names_types_and_places(without_meteor, monkeypatch):
    monkeypatch.setattr(base, "METRICS", without_meteor)
    columns = scores_schema()
    assert columns.names == ["user_id", "rouge1", "rougeL", *BLEU, "meteor", *DESCRIBING]
    counts = set(BLEU) - {"bleu"}
    for column in columns:
        expected = "string" if column.name == "user_id" else "int64" if column.name in counts else "double"
        assert str(column.type) == expected


def test_a_user_without_prediction_has_nulls_and_lowers_no_count_of_others():
    made, facts = scored(predictions([("a car", "a car"), (None, "a car"), ("", "a car")]))
    assert made.schema == scores_schema()
    assert made["user_id"].to_pylist() == ["u0", "u1", "u2"]
    assert made["rouge1"].to_pylist() == [1.0, None, 0.0]
    assert made.to_pylist()[1] == {**dict.fromkeys(scores_schema().names), "user_id": "u1"}
    assert facts["scored:rouge1"] == facts["scored:bleu"] == 2
    assert facts["retryable"] == 0


@pytest.mark.parametrize(("prediction", "reference"), [("", "a car"), ("a car", ""), ("", ""), ("\n", "...")])
def test_an_empty_text_is_scored_with_zero_and_not_left_out(prediction, reference):
    made, facts = scored(predictions([(prediction, reference)]))
    assert [made[name].to_pylist() for name in ("rouge1", "rougeL", "bleu")] == [[0.0]] * 3
    found = reported_from(facts)
    assert {name: found[name] for name in COMPARING} == dict.fromkeys(COMPARING, 0.0)
    assert None not in found.values()


def test_the_facts_are_the_sums_of_all_columns_and_the_number_of_rows_that_each_metric_scored():
    made, facts = scored(predictions([("the car runs well.", "the car runs"), (None, "a"), ("a car", "the car")]))
    sums = {name: pc.sum(made[name]).as_py() for name in made.schema.names if name != "user_id"}
    assert facts == {**sums, **{f"scored:{name}": 2 for name in [*COMPARING, *DESCRIBING]}, "retryable": 0}
    assert (facts["bleu_sys_len"], facts["bleu_ref_len"]) == (5 + 2, 3 + 2)  # sacrebleu's 13a cuts off the full stop.


@pytest.mark.parametrize("rows", [[], [(None, "a car"), (None, "")]])
def test_a_part_without_any_prediction_adds_nothing(rows):
    _, facts = scored(predictions(rows))
    assert set(facts.values()) == {0}
    assert reported_from(facts) == dict.fromkeys([*COMPARING, *DESCRIBING])


def test_copies_are_looked_for_in_the_profile_of_each_rows_own_user():
    made, _ = scored(predictions([("I say the car runs well and so does", "x"), ("runs well another text", "x")]))
    assert made["copy_rate"].to_pylist() == [7 / 9, 0.0]
    assert made["longest_copy"].to_pylist() == [7.0, 2.0]


def test_what_only_some_metrics_scored_can_be_tried_again(monkeypatch):
    monkeypatch.setattr(base.METRICS["rougeL"], "missing", lambda self: "not here")
    made, facts = scored(predictions([("a car", "a car"), (None, "a car")]))
    assert made["rougeL"].to_pylist() == [None, None]
    assert (facts["scored:rouge1"], facts["scored:rougeL"], facts["retryable"]) == (1, 0, 1)
    assert reported_from(facts)["rougeL"] is None
    assert reported_from(facts)["rouge1"] == 1.0


@given(rows=ROWS, data=st.data())
def test_order_and_cutting_into_parts_change_no_number(rows, data):
    table = predictions(rows)
    whole, facts = scored(table)
    order = data.draw(st.permutations(range(len(rows))))
    ends = sorted({*data.draw(st.lists(st.integers(1, len(rows)))), len(rows)})
    shuffled, starts = table.take(order), [0, *ends]
    parts = [scored(shuffled.slice(start, end - start)) for start, end in zip(starts, ends, strict=False)]
    assert pa.concat_tables([made for made, _ in parts]).to_pylist() == whole.take(order).to_pylist()
    together = add_up(part for _, part in parts)
    assert together == pytest.approx(facts)
    assert {name: together[name] for name in BLEU[1:]} == {name: facts[name] for name in BLEU[1:]}
    assert reported_from(together) == pytest.approx(reported_from(facts))
    assert reported_from(together)["bleu"] == reported_from(facts)["bleu"]


@given(rows=ROWS)
def test_the_reported_bleu_is_sacrebleus_over_all_rows_with_a_prediction(rows):
    _, facts = scored(predictions(rows))
    texts = [(text, true) for text, true in rows if text is not None]
    bleu = reported_from(facts)["bleu"]
    if not texts:
        assert bleu is None
    else:
        hypotheses, references = zip(*texts, strict=True)
        assert bleu == sacrebleu.corpus_bleu(list(hypotheses), [list(references)]).score


def test_scores_depend_on_signatures_and_on_settings_that_were_changed(monkeypatch):
    class Settings(base.Section):
        weight: float = 1.0

    def settings(metrics):
        return SCORES.settings(SimpleNamespace(config=SimpleNamespace(evaluation=Evaluation(metrics=metrics))))

    monkeypatch.setattr(base.METRICS["rouge1"], "Settings", Settings)
    unchanged = {"metrics": signatures(Evaluation())}
    assert settings({}) == settings({"rouge1": {}}) == settings({"rouge1": {"weight": 1.0}, "bleu": {}}) == unchanged
    changed = settings({"rouge1": {"weight": 2.0}})
    assert changed["metric_settings"] == {"rouge1": {"weight": 2.0}}
    assert changed["metrics"]["rouge1"] == unchanged["metrics"]["rouge1"] + "|weight:2.0"
