"""The result of a job: its numbers come from the stages' totals, and what fell short comes with advice."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.config import Evaluation, Judge
from drp_ray.evaluation.judge import measures_of
from drp_ray.evaluation.metrics import base
from drp_ray.evaluation.metrics.base import Metric, metric
from drp_ray.evaluation.user_scores import FROM_PREDICTIONS, UserScores
from drp_ray.job.job import Job
from drp_ray.job.result import METRICS_FILE, _judge_value, report
from drp_ray.job.score_lines import score_lines
from drp_ray.storage.folder import LocalFolder
from tests.evaluation.test_user_scores import scores_of


@pytest.fixture
def registered(monkeypatch):
    """Two metrics: one that can always be computed, and one that says what it lacks."""
    monkeypatch.setattr(base, "METRICS", {})

    class Share(Metric):
        signature = "share v1"
        lacks: str | None = None

        def score(self, prediction, reference):
            raise AssertionError("a report scores nothing")

        def missing(self):
            return self.lacks

    easy = metric("easy", "EASY")(type("Easy", (Share,), {}))
    hard = metric("hard", "HARD")(type("Hard", (Share,), {"lacks": "put the dictionary there"}))
    return SimpleNamespace(easy=easy, hard=hard)


@pytest.fixture
def result_of(tmp_path):
    """The result of a job of four users, by the facts of its scores; and what was written beside it."""

    def result_of(users=None, totals=None, **facts):
        predictions = {"rows": 4, "errors": 0, "users_with_failed_differences": 0}
        found = {"users": {"rows": 4}, "predictions": predictions, "scores": {"rows": 4, **facts}}
        totals = {name: {**found.get(name, {}), **(totals or {}).get(name, {})} for name in {**found, **(totals or {})}}
        config = SimpleNamespace(name="run", method="rag", protocol=None, evaluation=Evaluation())
        folder = LocalFolder(tmp_path / "run")
        manifests = {name: SimpleNamespace(totals=stage) for name, stage in totals.items()}
        result = report(
            config,
            SimpleNamespace(
                stages={}, spec=SimpleNamespace(method=SimpleNamespace(name="rag", roles=()), differences=None)
            ),
            folder,
            manifests,
            tmp_path,
            users or nobody(),
        )
        assert json.loads(folder.read(METRICS_FILE)) == result.metrics
        return result

    return result_of


def nobody():
    """Scores of no user: the totals are those of the facts."""
    columns = {name: pa.array([], pa.string()) for name in FROM_PREDICTIONS}
    return UserScores(pa.table({**columns, **{name: pa.array([], pa.float64()) for name in base.METRICS}}))


SCORED = {"easy": 3.0, "scored:easy": 4, "hard": 1.0, "scored:hard": 4}
MISSING = {"easy": 3.0, "scored:easy": 4, "hard": 0, "scored:hard": 0}


def test_every_metric_has_its_number_how_many_rows_it_scored_and_its_signature(registered, result_of):
    result = result_of(**SCORED)
    assert result.metrics["metrics"] == {"easy": 0.75, "hard": 0.25}
    assert result.metrics["scored"] == {"easy": 4, "hard": 4}
    assert result.metrics["signatures"] == {"easy": "share v1", "hard": "share v1"}
    assert result.advice == ()


def test_the_advice_for_a_missing_metric_is_the_metrics_own(registered, result_of):
    result = result_of(**MISSING)
    assert result.metrics["metrics"] == {"easy": 0.75, "hard": None}
    assert result.advice == ("HARD is missing: put the dictionary there; then run again with --retry-errors",)


def test_a_metric_that_only_some_users_lack_is_told_with_their_number(registered, result_of):
    result = result_of(**{**SCORED, "scored:hard": 1})
    assert result.advice == (
        "HARD is missing for 3 of 4 users: put the dictionary there; then run again with --retry-errors",
    )


def test_a_metric_that_would_be_computed_now_needs_only_another_run(registered, result_of):
    registered.hard.lacks = None
    (advice,) = result_of(**MISSING).advice
    assert advice == "HARD is missing: what it needs is here now; then run again with --retry-errors"


def test_no_metric_is_missing_where_no_row_has_a_prediction(registered, result_of):
    result = result_of(**dict.fromkeys(SCORED, 0))
    assert result.metrics["metrics"] == {"easy": None, "hard": None}
    assert result.advice == ()


USERS = [
    ("the car runs", "the car runs", "rag"),
    ("the car", "the car runs", "rag"),
    ("a text", "nothing alike", "nonperso"),
    (None, "the car runs well.", "rag"),
]
"""Prediction (None: failed), reference, and the method that really ran, of each user."""


def test_a_result_says_who_failed_what_that_would_cost_and_what_each_method_that_ran_scored(result_of):
    metrics = result_of(scores_of(USERS), **{"rouge1": 1.8, "scored:rouge1": 3}).metrics
    assert metrics["failed_users"] == 1
    assert metrics["metrics"]["rouge1"] == pytest.approx(0.6)
    assert metrics["with_failures_as_empty"]["rouge1"] == pytest.approx(0.45)
    by_method = metrics["by_method"]
    assert {method: found["n"] for method, found in by_method.items()} == {"rag": 2, "nonperso": 1}
    assert by_method["rag"]["metrics"]["rouge1"] == pytest.approx(0.9)
    assert by_method["nonperso"]["metrics"]["rouge1"] == 0.0


def test_the_command_line_shows_how_many_users_stand_behind_every_number(result_of, monkeypatch):
    result = result_of(scores_of(USERS), **{"rouge1": 1.8, "scored:rouge1": 3})
    job = SimpleNamespace(
        run=lambda *_: result, config=SimpleNamespace(report=False, runtime=SimpleNamespace(max_error_rate=1.0))
    )
    monkeypatch.setattr(Job, "open", lambda *_, **__: job)
    done = CliRunner().invoke(app, ["run", "job.yaml"])
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "users scored" in words and "1 failed users scored as an empty text" in words
    cells = [[cell.strip() for cell in line.split("│")] for line in done.stdout.splitlines()]
    assert any({"rouge1", "0.6000", "3", "0.4500"} <= set(row) for row in cells), done.stdout
    assert any({"nonperso", "0.0000", "1"} <= set(row) for row in cells), done.stdout


def test_what_fell_short_is_in_the_coverage(registered, result_of):
    calls = {"truncated": 1, "unfinished_thinking": 2, "cut_off": 3, "preambles": 4, "errors": 0}
    differences = {"rows": 8, "no_representatives": 1, "no_difference": 2, "unparsed": 3, "representatives": 16}
    predictions = {
        "method:dpl": 1, "method:intsum": 3, "fallback:no differences": 2, "fallback:differences failed": 1,
        "users_with_failed_differences": 2,
    }  # fmt: skip
    totals = {
        "comparisons": {"later_representatives": 5},
        "differences": {**differences, **calls},
        "predictions": {**predictions, **calls, "cut_off": 7},
    }
    coverage = result_of(totals=totals, **SCORED).metrics["coverage"]
    assert coverage["users_by_method"] == {"dpl": 1, "intsum": 3}
    assert coverage["users_with_a_simpler_method"] == {"no differences": 2, "differences failed": 1}
    counts = {
        "users_with_failed_differences": 2, "comparisons_without_difference": 2, "differences_not_parsed": 3,
        "comparisons_without_representatives": 1, "representatives_later_than_the_target": 5,
        "cut_off": {"differences": 3, "predictions": 7}, "preambles_removed": {"differences": 4, "predictions": 4},
        "unfinished_thinking": {"differences": 2, "predictions": 2},
    }  # fmt: skip
    assert {name: coverage[name] for name in counts} == counts


@given(scores=st.lists(st.tuples(st.none() | st.just(4.0), st.none() | st.just(9.0)), min_size=1, max_size=6))
def test_a_judges_numbers_are_each_told_with_the_users_they_are_over(scores):
    judge = SimpleNamespace(measures=measures_of({"judge": Judge(expected=True)}))
    users = scores_of([("the car runs", "the car runs", "rag")] * len(scores))
    judgements = pa.table(
        {
            "user_id": users.table["user_id"],
            "text": ["prediction"] * len(scores),
            "score": pa.array([score for score, _ in scores], pa.float64()),
            "expected": pa.array([expected for _, expected in scores], pa.float64()),
        }
    )
    for measure in judge.measures:
        users = users.with_columns({measure.name: measure.values(judgements)[measure.name]})
    numbers = _judge_value(judge, users)
    shown = score_lines({"metrics": {}, "scored": {}, "judges": {"judge": numbers}, "with_failures_as_empty": {}})
    over = {line.metric: line.users for line in shown if line.value is not None}
    counts = [sum(each[place] is not None for each in scores) for place in (0, 1)]
    assert over == {name: n for name, n in zip(("judge", "judge_expected"), counts, strict=True) if n}
