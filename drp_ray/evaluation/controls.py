"""What controls are scored with, and what is reported of them beside the prediction's own numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.evaluation.authorship import ATTRIBUTIONS, identify
from drp_ray.evaluation.metrics.base import Measure, Metric, score_rows
from drp_ray.evaluation.user_scores import UserScores
from drp_ray.schema import Row

FLOOR, CEILING = "other_review", "reference"
PREDICTION, SWAPPED = "prediction", "swapped_prediction"

OF_DATA = (CEILING, "own_review", FLOOR)
"""Controls that follow from the dataset, so that runs share their scores."""

CONTROLS = (*OF_DATA, SWAPPED)
"""Every control, from the ceiling on."""


def control_schema(metrics: Sequence[Metric], scored: Iterable[str], attributed: Iterable[str]) -> pa.Schema:
    """`user_id`, the metrics' columns for every scored text, and those of author identification for some texts."""
    fields = [(text, field) for text in scored for each in metrics for field in each.columns]
    fields += [(text, field) for text in attributed for each in ATTRIBUTIONS for field in each.columns]
    return pa.schema([("user_id", pa.string()), *((f"{text}:{field.name}", field.type) for text, field in fields)])


def score_controls(
    metrics: Sequence[Metric],
    users: Sequence[Row],
    texts: Mapping[str, Sequence[str | None]],
    scored: Iterable[str],
    authors: Sequence[Any],
) -> list[dict[str, Any]]:
    """A row for each user: every metric of each text in `scored`, and who the author of every text seems to be.

    `users` are rows of `schema.USERS`; a text that is missing has nulls.
    """
    rows: list[dict[str, Any]] = [{"user_id": user["user_id"]} for user in users]
    references = [user["target"]["text"] for user in users]
    profiles = [[review["text"] for review in user["profile"]] for user in users]
    for name in scored:
        for row, scores in zip(rows, score_rows(metrics, texts[name], references, profiles), strict=True):
            row |= {f"{name}:{column}": value for column, value in scores.items()}
    for place, row in enumerate(rows):
        of_user = {name: column[place] for name, column in texts.items()}
        for name, credits in identify(of_user, row["user_id"], authors[place]).items():
            row |= {f"{name}:{column}": value for column, value in credits.items()}
    return rows


def report_controls(metrics: Sequence[Metric], users: UserScores, controls: pa.Table) -> dict[str, Any]:
    """For every control its numbers and those of the predictions, over the ok users who have that control.

    So both are over the same users, and a failed prediction takes its user's controls along.
    """
    measures: list[Measure] = [*metrics, *ATTRIBUTIONS]
    return {name: _one_control(name, measures, users, controls) for name in CONTROLS}


def _one_control(name: str, measures: Sequence[Measure], users: UserScores, controls: pa.Table) -> dict[str, Any]:
    own = {field.name: f"{name}:{field.name}" for each in measures for field in each.columns}
    table = users.table.select(["user_id", "method", "status", "reference"])
    for column, source in own.items():
        table = table.append_column(column, controls[source])
    of_control = UserScores(table)
    numbers = of_control.numbers(measures)
    beside = {
        measure.name: users.numbers([measure], _having(of_control.table, measure.name))[measure.name].value
        for measure in measures
    }
    return {
        "n": {measure: number.n for measure, number in numbers.items()},
        "metrics": {measure: number.value for measure, number in numbers.items()},
        "prediction": beside,
    }


def _having(table: pa.Table, column: str) -> list[str]:
    users: list[str] = table.filter(pc.is_valid(table[column]))["user_id"].to_pylist()
    return users
