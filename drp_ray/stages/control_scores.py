"""control_scores: the controls that follow from the dataset, scored as predictions are; runs share them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from drp_ray.config import Evaluation
from drp_ray.evaluation.authorship import ATTRIBUTIONS
from drp_ray.evaluation.controls import CEILING, OF_DATA, control_schema, score_controls
from drp_ray.evaluation.metrics.base import open_metrics
from drp_ray.running.worker import Worker
from drp_ray.stages.scores import metric_settings, opened_once, scored_facts
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, read_part


@dataclass
class ScoreControls(Worker):
    """Scores the texts of `controls`, and the references against themselves."""

    evaluation: Evaluation
    cache: Path
    users: Folder
    keys = ("user_id",)

    def __post_init__(self) -> None:
        self.schema = control_schema(open_metrics(self.evaluation, self.cache), OF_DATA, OF_DATA)

    async def start(self, count: Callable[..., None]) -> None:
        """Open the metrics, in the process that scores."""
        self._opened = opened_once(self.evaluation, self.cache)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Controls in, their scores out."""
        users = read_part(self.users, part).rows.to_pylist()
        texts = {name: rows[name].to_pylist() for name in OF_DATA if name != CEILING}
        texts[CEILING] = [user["target"]["text"] for user in users]
        scored = score_controls(self._opened, users, texts, OF_DATA, rows["authors"].to_pylist())
        return pa.Table.from_pylist(scored, self.schema)

    def facts(self, rows: pa.Table) -> Facts:
        """Rows that only some metrics could score."""
        of_reference = {metric.name: rows[f"{CEILING}:{metric.name}"] for metric in self._opened}
        return {"retryable": scored_facts(of_reference)["retryable"]}


def control_settings(spec: JobSpec) -> Mapping[str, Any]:
    """What the numbers are computed with."""
    return {**metric_settings(spec), "authors": [each.signature for each in ATTRIBUTIONS]}


def _make(context: StageContext) -> ScoreControls:
    return ScoreControls(context.config.evaluation, context.cache, context.folders["users"])


CONTROL_SCORES = Stage(
    "control_scores",
    version=1,
    inputs=after("controls", "users"),
    settings=control_settings,
    from_libraries=("metrics",),
    make=_make,
    is_needed=lambda spec: spec.config.evaluation.controls,
    only_evaluates=True,
)
