"""What is read of finished runs to compare them: arrays of numbers, aligned by user, never texts."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from drp_ray.evaluation.metrics.base import Measure, Metric
from drp_ray.evaluation.statistics import Matrix
from drp_ray.evaluation.user_scores import UserScores
from drp_ray.job.finished import FinishedRun


@dataclass(frozen=True)
class Scored:
    """What is read of an execution: arrays with an entry a user, in user_id order.

    `targets` are digests of item and reference. `columns` has the columns of each measure, NaN where there is no value;
    `signatures` say what they were computed with. `with_failures` are the numbers over all users, where each failed one
    counts as an empty text.
    """

    name: str
    users: NDArray[np.object_]
    is_ok: NDArray[np.bool_]
    items: NDArray[np.object_]
    targets: NDArray[np.object_]
    measures: Sequence[Measure]
    columns: Mapping[str, Matrix]
    signatures: Mapping[str, str | None]
    with_failures: Mapping[str, float | None]


def read(run: FinishedRun, with_failures: bool = True) -> Scored:
    """Read a run's scores. To score failures as empty texts takes seconds where a metric opens a dictionary."""
    scores, measures, signatures = run.scores, run.measures, run.signatures
    items = run.rows("predictions", ("user_id", "item_id")).sort_by("user_id")["item_id"].to_pylist()
    return Scored(
        name=run.name,
        users=_objects(scores.table["user_id"].to_pylist()),
        is_ok=np.array([status == "ok" for status in scores.table["status"].to_pylist()], np.bool_),
        items=_objects(items),
        targets=_objects(
            [_digest(*target) for target in zip(items, scores.table["reference"].to_pylist(), strict=True)]
        ),
        measures=measures,
        columns={measure.name: _columns(measure, scores.table) for measure in measures},
        signatures={
            measure.name: signatures.get(measure.name, getattr(measure, "full_signature", None)) for measure in measures
        },
        with_failures=_with_failures(scores, measures) if with_failures else {},
    )


def _with_failures(scores: UserScores, measures: Sequence[Measure]) -> dict[str, float | None]:
    """Of the measures that can score a text here, and of all metrics where no text is to be scored."""
    has_failures = scores.users != scores.ok_users
    able = [
        each
        for each in measures
        if isinstance(each, Metric) and _has_values(each, scores.table) and not (has_failures and each.missing())
    ]
    return {name: number.value for name, number in scores.numbers_with_failures(able).items()}


def _columns(measure: Measure, table: pa.Table) -> Matrix:
    """The columns of a measure; all NaN where the scores are from before the measure was there."""
    if not _is_there(measure, table):
        return np.full((len(table), len(measure.columns)), np.nan)
    columns = [table[field.name].cast(pa.float64()).to_numpy() for field in measure.columns]
    return np.column_stack(columns).astype(np.float64)


def _is_there(measure: Measure, table: pa.Table) -> bool:
    return {field.name for field in measure.columns} <= set(table.column_names)


def _has_values(measure: Measure, table: pa.Table) -> bool:
    return _is_there(measure, table) and table[measure.name].null_count < len(table)


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _digest(item: str, reference: str) -> bytes:
    return hashlib.sha256(f"{item}\0{reference}".encode(errors="surrogatepass")).digest()[:16]
