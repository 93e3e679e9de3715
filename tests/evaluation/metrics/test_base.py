"""Every metric keeps what all of them promise, whatever the text; a new one is a decorated class."""

import math

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from drp_ray.config import Evaluation
from drp_ray.errors import BadInput, JobFailed
from drp_ray.evaluation.metrics import base
from drp_ray.evaluation.metrics.base import METRICS, Metric, metric, open_metrics, score_rows, scores_schema
from tests.evaluation.metrics.texts import TEXTS, score_row

NAMES = ["rouge1", "rougeL", "meteor", "bleu"]


@pytest.fixture
def length(monkeypatch):
    """A metric beside the others, registered for one test; it keeps the texts that it was given together."""
    monkeypatch.setattr(base, "METRICS", dict(METRICS))

    @metric("length", "length ratio", "words")
    class Length(Metric):
        class Settings(base.Section):
            per: int = 1
            weights: tuple[float, ...] = ()
            batch_size: int = Field(default=32, exclude=True)

        signature = "length of characters"

        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.batches = []

        def score(self, prediction, reference):
            ratio = len(prediction) / len(reference) / self.settings.per
            return {"length": ratio, "words": len(prediction.split())}

        def score_batch(self, predictions, references):
            self.batches.append((predictions, references))
            return super().score_batch(predictions, references)

    return Length


def test_registry_has_the_papers_metrics():
    assert set(NAMES) <= set(METRICS)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prediction=st.text() | TEXTS, reference=st.text() | TEXTS)
def test_any_text_has_scores_in_range_that_fit_the_schema(metrics, prediction, reference):
    row = score_row(metrics.values(), prediction, reference)
    table = pa.Table.from_pylist([{"user_id": "u", **row}], schema=scores_schema())
    assert table.to_pylist() == [{"user_id": "u", **row}]
    for name in NAMES:
        assert 0 <= row[name] <= (100.0001 if name == "bleu" else 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prediction", ["", " \n\t ", "..."])
def test_nothing_predicted_scores_zero(metrics, name, prediction):
    assert metrics[name].score(prediction, "A good record")[name] == 0.0
    assert metrics[name].score("A good record", "")[name] == 0.0


def test_columns_are_what_score_returns(metrics):
    for each in metrics.values():
        assert [field.name for field in each.columns] == list(each.score("a b", "a c"))
    assert scores_schema().names[:4] == ["user_id", "rouge1", "rougeL", "bleu"]


def test_row_without_prediction_has_no_scores(metrics):
    assert score_row(metrics.values(), None, "text") == dict.fromkeys(scores_schema().names[1:])


@pytest.mark.parametrize("name", ["rouge1", "rougeL", "meteor"])
def test_report_is_the_mean_over_scored_rows(metrics, name):
    assert metrics[name].aggregate({name: 1.5}, 6) == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_report_over_no_row_is_not_a_number(metrics, name):
    assert math.isnan(metrics[name].aggregate(dict.fromkeys([field.name for field in metrics[name].columns], 0), 0))


@given(rows=st.lists(st.tuples(st.none() | TEXTS, TEXTS), max_size=6))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_rows_at_once_score_as_they_do_one_by_one(metrics, rows):
    together = score_rows(list(metrics.values()), [text for text, _ in rows], [text for _, text in rows])
    assert together == [score_row(metrics.values(), *row) for row in rows]


@pytest.mark.parametrize(
    ("settings_of", "says"),
    [
        ({"rouge2": {}}, r"evaluation\.metrics: there is no metric 'rouge2'; did you mean rouge"),
        ({"meteor": {"alpha": 1}}, r"evaluation\.metrics\.meteor: alpha: unknown setting; known: tokenizer"),
        ({"length": {"pre": 1}}, r"evaluation\.metrics\.length: pre: unknown setting; did you mean per\?"),
        ({"length": {"per": "x"}}, r"evaluation\.metrics\.length: per: .*integer.*\(got 'x'\)"),
    ],
)
def test_a_setting_for_no_metric_or_no_setting_of_it_is_bad_input(length, tmp_path, settings_of, says):
    with pytest.raises(BadInput, match=says):
        open_metrics(Evaluation(metrics=settings_of), tmp_path)


def test_a_new_metric_is_one_decorated_class_with_settings_of_its_own(length, monkeypatch, tmp_path):
    monkeypatch.setattr(base, "METRICS", {"length": length})
    assert scores_schema() == pa.schema([("user_id", pa.string()), ("length", pa.float64()), ("words", pa.int64())])
    opened = open_metrics(Evaluation(metrics={"length": {"per": 2}}), tmp_path)
    assert score_row(opened, "a b", "abcdef") == {"length": 0.25, "words": 2}


def test_settings_that_can_change_a_score_are_in_the_signature(length):
    def signature(**settings):
        return base.signatures(Evaluation(metrics={"length": settings}))["length"]

    assert signature() == signature(per=1) == signature(batch_size=8) == "length of characters"
    assert signature(per=2, weights=[0.5, 1]) == "length of characters|per:2|weights:[0.5,1.0]"


def test_many_rows_are_scored_in_one_call_without_those_that_have_no_prediction(length, tmp_path):
    metric = length(tmp_path)
    rows = score_rows([metric], ["a", None, "b c"], ["ab", "never looked at", "abc"])
    assert metric.batches == [(["a", "b c"], ["ab", "abc"])]
    nothing = {"length": None, "words": None}
    assert rows == [{"length": 0.5, "words": 1}, nothing, {"length": 1.0, "words": 2}]
    assert score_rows([metric], [None, None], ["a", "b"]) == [nothing] * 2
    assert len(metric.batches) == 1, "where there is no prediction, the metric is not asked"


@pytest.mark.parametrize(
    ("scored", "says"),
    [
        ([], "score_batch returned 0 rows for 1 predictions"),
        ([{"length": 1.0}], r"not one finite number for each of \['length', 'words'\]"),
        ([{"length": 1.0, "word": 1}], "not one finite number"),
        ([{"length": math.nan, "words": 1}], "not one finite number"),
    ],
)
def test_a_metric_that_breaks_its_promise_fails_the_job_by_name(length, monkeypatch, tmp_path, scored, says):
    monkeypatch.setattr(length, "score_batch", lambda self, predictions, references: scored)
    with pytest.raises(JobFailed, match=f"metric length: .*{says}"):
        score_rows([length(tmp_path)], ["a"], ["b"])


@pytest.mark.parametrize(("name", "statistics"), [("bleu", []), ("other", ["bleu_sys_len"]), ("rows", [])])
def test_a_column_that_is_there_already_is_refused(name, statistics):
    with pytest.raises(ValueError, match=f"metric '{name}': the name of the column .* is taken"):
        metric(name, "Other", *statistics)(type("Other", (Metric,), {}))
    assert "other" not in METRICS
    assert METRICS["bleu"].__name__ == "Bleu"
