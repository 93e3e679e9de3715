"""scores: every prediction against its reference, row by row; corpus values come from the sums."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import (
    Metric,
    changed_settings,
    open_metrics,
    score_rows,
    scores_schema,
    signatures,
)
from drp_ray.running.worker import Worker
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, read_part


@dataclass
class Score(Worker):
    """Computes all metrics. A user without a prediction has nulls."""

    evaluation: Evaluation
    cache: Path
    users: Folder
    keys = ("user_id",)

    def __post_init__(self) -> None:
        self.schema = scores_schema(open_metrics(self.evaluation, self.cache))

    async def start(self, count: Callable[..., None]) -> None:
        """Open the metrics, in the process that scores."""
        self._opened = opened_once(self.evaluation, self.cache)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Predictions in, scores out."""
        users, predictions, references = (rows[name].to_pylist() for name in ("user_id", "prediction", "reference"))
        profile_of = profiles_of_part(self.users, part)
        scored = score_rows(self._opened, predictions, references, [profile_of[user] for user in users])
        return pa.Table.from_pylist(
            [{"user_id": user, **row} for user, row in zip(users, scored, strict=True)], self.schema
        )

    def facts(self, rows: pa.Table) -> Facts:
        """Sums of all columns, how many rows each metric scored, and rows that only some metrics could score."""
        facts: Facts = {
            name: pc.sum(rows[name], min_count=0).as_py() for name in self.schema.names if name != "user_id"
        }
        return {**facts, **scored_facts({metric.name: rows[metric.name] for metric in self._opened})}


def scored_facts(values: Mapping[str, pa.ChunkedArray]) -> Facts:
    """How many rows each metric scored, and `retryable`: scores that only some metrics have for a row."""
    scored = {name: len(column) - column.null_count for name, column in values.items()}
    missing = sum(max(scored.values(), default=0) - count for count in scored.values())
    return {**{f"scored:{name}": count for name, count in scored.items()}, "retryable": missing}


def profiles_of_part(users: Folder, part: str) -> dict[str, list[str]]:
    """The texts of every profile in a part, by user."""
    rows = read_part(users, part).rows.select(["user_id", "profile"]).to_pylist()
    return {row["user_id"]: [review["text"] for review in row["profile"]] for row in rows}


def reported(metrics: Sequence[Metric], totals: Facts) -> dict[str, float | None]:
    """The numbers to report, from the totals of the stage; None for a metric that scored no row."""
    scored = {metric.name: int(totals.get(f"scored:{metric.name}", 0)) for metric in metrics}
    return {
        metric.name: metric.aggregate(totals, scored[metric.name]) if scored[metric.name] else None
        for metric in metrics
    }


def opened_once(evaluation: Evaluation, cache: Path) -> list[Metric]:
    """The metrics of a process, kept from part to part: what they load takes a second."""
    return _open_once(evaluation.model_dump_json(), cache)


@lru_cache(maxsize=1)
def _open_once(evaluation: str, cache: Path) -> list[Metric]:
    return open_metrics(Evaluation.model_validate_json(evaluation), cache)


def metric_settings(spec: JobSpec) -> Mapping[str, Any]:
    """Changed settings stand apart from the signatures: a run's name depends on them, but on no library's version."""
    settings: dict[str, Any] = {"metrics": signatures(spec.config.evaluation)}
    if changed := changed_settings(spec.config.evaluation):
        settings["metric_settings"] = changed
    return settings


def _make(context: StageContext) -> Score:
    return Score(context.config.evaluation, context.cache, context.folders["users"])


SCORES = Stage(
    "scores",
    version=2,
    inputs=after("predictions", "users"),
    settings=metric_settings,
    from_libraries=("metrics",),
    make=_make,
)
