"""The result of a job: its numbers come from the stages' totals, and what fell short comes with advice."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pytest

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics import base
from drp_ray.evaluation.metrics.base import Metric, metric
from drp_ray.evaluation.user_scores import FROM_PREDICTIONS, UserScores
from drp_ray.job.result import METRICS_FILE, report
from drp_ray.storage.folder import LocalFolder


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

    def result_of(**facts):
        predictions = {"rows": 4, "errors": 0, "users_with_failed_differences": 0}
        totals = {"users": {"rows": 4}, "predictions": predictions, "scores": {"rows": 4, **facts}}
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
            nobody(),
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


def test_a_metric_that_would_be_computed_now_needs_only_another_run(registered, result_of):
    registered.hard.lacks = None
    (advice,) = result_of(**MISSING).advice
    assert advice == "HARD is missing: what it needs is here now; then run again with --retry-errors"


def test_no_metric_is_missing_where_no_row_has_a_prediction(registered, result_of):
    result = result_of(**dict.fromkeys(SCORED, 0))
    assert result.metrics["metrics"] == {"easy": None, "hard": None}
    assert result.advice == ()
