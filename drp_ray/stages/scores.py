"""scores: every prediction against its reference, row by row; corpus values come from the sums."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import (
    METRICS,
    Metric,
    changed_settings,
    open_metrics,
    score_rows,
    scores_schema,
    signatures,
)
from drp_ray.running.worker import Worker
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after
from drp_ray.storage.parts import Facts


@dataclass
class Score(Worker):
    """Computes all metrics. A user without a prediction has nulls."""

    evaluation: Evaluation
    cache: Path
    keys = ("user_id",)

    def __post_init__(self) -> None:
        self.schema = scores_schema()

    async def start(self, count: Callable[..., None]) -> None:
        """Open the metrics, in the process that scores."""
        self._opened = _open_once(self.evaluation.model_dump_json(), self.cache)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Predictions in, scores out."""
        users, predictions, references = (rows[name].to_pylist() for name in ("user_id", "prediction", "reference"))
        scored = score_rows(self._opened, predictions, references)
        return pa.Table.from_pylist(
            [{"user_id": user, **row} for user, row in zip(users, scored, strict=True)], self.schema
        )

    def facts(self, rows: pa.Table) -> Facts:
        """Sums of all columns, how many rows each metric scored, and rows that only some metrics could score."""
        facts: Facts = {
            name: pc.sum(rows[name], min_count=0).as_py() for name in self.schema.names if name != "user_id"
        }
        scored = {name: rows.num_rows - rows[name].null_count for name in METRICS}
        missing = sum(max(scored.values()) - count for count in scored.values())
        return {**facts, **{f"scored:{name}": count for name, count in scored.items()}, "retryable": missing}


def reported(metrics: list[Metric], totals: Facts) -> dict[str, float | None]:
    """The numbers to report, from the totals of the stage; None for a metric that scored no row."""
    scored = {metric.name: int(totals.get(f"scored:{metric.name}", 0)) for metric in metrics}
    return {
        metric.name: metric.aggregate(totals, scored[metric.name]) if scored[metric.name] else None
        for metric in metrics
    }


@lru_cache(maxsize=1)
def _open_once(evaluation: str, cache: Path) -> list[Metric]:
    """Keep the metrics of a process from part to part: what they load takes a second."""
    return open_metrics(Evaluation.model_validate_json(evaluation), cache)


def _settings(spec: JobSpec) -> Mapping[str, Any]:
    """Changed settings stand apart from the signatures: a run's name depends on them, but on no library's version."""
    settings: dict[str, Any] = {"metrics": signatures(spec.config.evaluation)}
    if changed := changed_settings(spec.config.evaluation):
        settings["metric_settings"] = changed
    return settings


def _make(context: StageContext) -> Score:
    return Score(context.config.evaluation, context.cache)


SCORES = Stage(
    "scores", version=1, inputs=after("predictions"), settings=_settings, from_libraries=("metrics",), make=_make
)
