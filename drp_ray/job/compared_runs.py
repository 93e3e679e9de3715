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
    targets = targets_of(run)
    return Scored(
        name=run.name,
        users=_objects(list(targets)),
        is_ok=np.array([status == "ok" for status in scores.table["status"].to_pylist()], np.bool_),
        items=_objects([run.items[user] for user in targets]),
        targets=_objects(list(targets.values())),
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


def targets_of(run: FinishedRun) -> dict[str, bytes]:
    """By user, in the order of the scores, the digest of what the run was to write."""
    texts = run.scores.table.select(("user_id", "reference")).to_pydict()
    pairs = zip(texts["user_id"], texts["reference"], strict=True)
    return {user: target_digest(run.items[user], reference) for user, reference in pairs}


def why_not_paired(one: str, other: str, targets: Mapping[str, bytes], others: Mapping[str, bytes]) -> str | None:
    """Why two results, by their names, are not compared user by user: other texts were to be written for some users.

    None where the targets of all users whom both have are the same.
    """
    common = sorted(targets.keys() & others.keys())
    differing = [user for user in common if targets[user] != others[user]]
    if not differing:
        return None
    return (
        f"{one} and {other} were to write other texts for {len(differing):,} of {len(common):,} users, "
        f"{differing[0]!r} for one; runs are compared on the same targets"
    )


def target_digest(item: str, reference: str) -> bytes:
    """A digest of what is to be written: equal ones mean the same review of the same item."""
    return hashlib.sha256(f"{item}\0{reference}".encode(errors="surrogatepass")).digest()[:16]
