"""What controls are scored with, and what is reported of them beside the prediction's own numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.evaluation.authorship import ATTRIBUTIONS, identify
from drp_ray.evaluation.metrics.base import Measure, Metric, score_rows
from drp_ray.evaluation.user_scores import FROM_PREDICTIONS, Number, UserScores
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


def report_controls(measures: Sequence[Measure], users: UserScores, controls: pa.Table) -> dict[str, Any]:
    """For every control its numbers and those of the predictions, over the ok users who have both.

    So a failed prediction takes its user's controls along. A measure that did not see a control is left out of it.
    """
    return {name: _one_control(name, measures, users, controls) for name in CONTROLS}


def _one_control(name: str, measures: Sequence[Measure], users: UserScores, controls: pa.Table) -> dict[str, Any]:
    of_control = _in_place_of_predictions(name, users, controls)
    pairs = {
        measure.name: _over_both(measure, of_control, users)
        for measure in measures
        if measure.name in of_control.table.column_names
    }
    return {
        "n": {measure: control.n for measure, (control, _) in pairs.items()},
        "metrics": {measure: control.value for measure, (control, _) in pairs.items()},
        "prediction": {measure: prediction.value for measure, (_, prediction) in pairs.items()},
    }


def _in_place_of_predictions(name: str, users: UserScores, controls: pa.Table) -> UserScores:
    """The same users with the values of a control, as if it were what was predicted for them."""
    own = [column for column in controls.column_names if column.startswith(f"{name}:")]
    values = {column.removeprefix(f"{name}:"): controls[column] for column in own}
    return UserScores(users.table.select(FROM_PREDICTIONS)).with_columns(values)


def _over_both(measure: Measure, control: UserScores, users: UserScores) -> tuple[Number, Number]:
    """The number of a control, and that of the predictions."""
    having = pc.and_(pc.is_valid(control.table[measure.name]), pc.is_valid(users.table[measure.name]))
    both = users.table["user_id"].filter(having).to_pylist()
    return control.numbers([measure], both)[measure.name], users.numbers([measure], both)[measure.name]
