"""scores: every prediction against its reference, row by row; corpus values come from the sums."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.evaluation.metrics import METRICS, Metric, open_metrics, score_row, scores_schema
from drp_ray.running.worker import Worker
from drp_ray.stages.stage import JobSpec, Stage, after
from drp_ray.storage.parts import Facts


@dataclass
class Score(Worker):
    """Computes all metrics. A user without a prediction has nulls."""

    metrics: tuple[str, ...]
    wordnet: Path
    keys = ("user_id",)

    def __post_init__(self) -> None:
        self.schema = scores_schema(self.metrics)

    async def start(self, count: Callable[..., None]) -> None:
        """Open the metrics, in the process that scores."""
        self._opened = _open_once(self.metrics, self.wordnet)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Predictions in, scores out."""
        columns = rows.select(["user_id", "prediction", "reference"]).to_pylist()
        scored = [
            {"user_id": row["user_id"], **score_row(self._opened, row["prediction"], row["reference"])}
            for row in columns
        ]
        return pa.Table.from_pylist(scored, self.schema)

    def facts(self, rows: pa.Table) -> Facts:
        """Sums of all columns, how many rows each metric scored, and rows that only some metrics could score."""
        facts: Facts = {
            name: pc.sum(rows[name], min_count=0).as_py() for name in self.schema.names if name != "user_id"
        }
        scored = {name: rows.num_rows - rows[name].null_count for name in self.metrics}
        missing = sum(max(scored.values()) - count for count in scored.values())
        return {**facts, **{f"scored:{name}": count for name, count in scored.items()}, "retryable": missing}


def reported(totals: Facts, metrics: tuple[str, ...], wordnet: Path) -> dict[str, float | None]:
    """The numbers to report, from the totals of the stage; None for a metric that scored no row."""
    return {
        metric.name: metric.aggregate(totals, int(totals[f"scored:{metric.name}"]))
        if totals.get(f"scored:{metric.name}")
        else None
        for metric in open_metrics(metrics, wordnet)
    }


@lru_cache(maxsize=1)
def _open_once(metrics: tuple[str, ...], wordnet: Path) -> list[Metric]:
    """Keep the metrics of a process from part to part: loading WordNet takes a second."""
    return open_metrics(metrics, wordnet)


ALL_METRICS = tuple(METRICS)


def _settings(spec: JobSpec) -> dict[str, Any]:
    return {"metrics": {metric.name: metric.signature for metric in open_metrics(ALL_METRICS, Path())}}


SCORES = Stage(
    "scores",
    version=1,
    inputs=after("predictions"),
    settings=_settings,
    from_libraries=("metrics",),
    make=lambda context: Score(ALL_METRICS, context.cache / "wordnet-3.0"),
)
