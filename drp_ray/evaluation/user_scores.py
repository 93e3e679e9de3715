"""The scores of a run user by user, and what is reported of chosen users.

A row that failed has no score. So that it does not improve a mean by leaving it, runs are compared on the users who
are ok in all of them, and every run also has its numbers with each failure scored as an empty text.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from drp_ray.errors import JobFailed
from drp_ray.evaluation.metrics.base import Measure, Metric

FROM_PREDICTIONS = ("user_id", "method", "status", "reference")


class Number(NamedTuple):
    """A metric's number and how many users it is over; None over no user."""

    value: float | None
    n: int


Numbers = dict[str, Number]
"""Every metric's number, by its name."""


def values_of(numbers: Numbers) -> dict[str, float | None]:
    """Every metric's value."""
    return {name: number.value for name, number in numbers.items()}


def len_of(numbers: Numbers) -> int:
    """How many users the metric that scored most of them is over."""
    return max((number.n for number in numbers.values()), default=0)


def side_by_side(first: pa.Table, *others: pa.Table) -> pa.Table:
    """Tables of a row a user as one table, in user_id order.

    Raises:
        JobFailed: they are of different users.
    """
    left = first.sort_by("user_id")
    for table in others:
        right = table.sort_by("user_id")
        if not right["user_id"].combine_chunks().equals(left["user_id"].combine_chunks()):
            raise JobFailed(f"the columns {right.column_names[1:]} are of other users than {left.column_names[1:]}")
        for name in right.column_names[1:]:
            left = left.append_column(name, right[name])
    return left.combine_chunks()


@dataclass(frozen=True)
class UserScores:
    """One row a user: `user_id`, `method` (that really ran), `status`, `reference`, and the columns of all metrics."""

    table: pa.Table

    @classmethod
    def join(cls, predictions: pa.Table, *scores: pa.Table) -> "UserScores":
        """Put the rows of `scores` (and of other tables of a row a user) beside those of `predictions`, by user_id."""
        return cls(side_by_side(predictions.select(FROM_PREDICTIONS), *scores))

    def with_columns(self, columns: Mapping[str, pa.ChunkedArray]) -> "UserScores":
        """The same users with further values of each, in user_id order; null where a user has none."""
        table = self.table
        for name, values in columns.items():
            table = table.append_column(name, values)
        return UserScores(table.combine_chunks())

    @property
    def users(self) -> frozenset[str]:
        """All users."""
        return frozenset(self.table["user_id"].to_pylist())

    @property
    def ok_users(self) -> frozenset[str]:
        """The users with a prediction."""
        return frozenset(self.table.filter(self._is_ok())["user_id"].to_pylist())

    def users_with(self, name: str) -> frozenset[str]:
        """The ok users with a value in a column; nobody where it is not there."""
        ok = self._chosen(None)
        return (
            frozenset(ok.filter(pc.is_valid(ok[name]))["user_id"].to_pylist())
            if name in ok.column_names
            else frozenset()
        )

    def numbers(self, metrics: Sequence[Measure], users: Iterable[str] | None = None) -> Numbers:
        """What every metric reports over the ok users, or over those of them that are named."""
        return _numbers(metrics, self._chosen(users))

    def numbers_with_failures(self, metrics: Sequence[Metric]) -> Numbers:
        """What every metric reports over all users, with each failed one scored as an empty text."""
        failed = self.table.filter(pc.invert(self._is_ok()))["reference"].to_pylist()
        ok = self._chosen(None)
        numbers = {}
        for metric in metrics:
            is_scored = len(ok) > ok[metric.name].null_count
            empty = metric.score_batch([""] * len(failed), failed) if is_scored and failed else []
            numbers[metric.name] = _number(metric, ok, empty)
        return numbers

    def rank_correlations(self, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
        """Spearman's rank correlation over the ok users, of every two of the named columns.

        Each is over the users who have both values; None where these are fewer than three, or all alike.
        """
        ok = self._chosen(None)
        values = {name: ok[name].to_numpy().astype(np.float64) for name in names}
        return {one: {other: _spearman(values[one], values[other]) for other in names} for one in names}

    def by_method(self, metrics: Sequence[Measure]) -> dict[str, Numbers]:
        """What every metric reports over the ok users of each method that really ran."""
        ok = self._chosen(None)
        return {
            method: _numbers(metrics, ok.filter(pc.equal(ok["method"], method)))
            for method in sorted(set(ok["method"].to_pylist()))
        }

    def _is_ok(self) -> pa.ChunkedArray:
        return pc.equal(self.table["status"], "ok")

    def _chosen(self, users: Iterable[str] | None) -> pa.Table:
        ok = self.table.filter(self._is_ok())
        return ok if users is None else ok.filter(pc.is_in(ok["user_id"], pa.array(sorted(users), pa.string())))


def _numbers(metrics: Sequence[Measure], rows: pa.Table) -> Numbers:
    return {metric.name: _number(metric, rows, []) for metric in metrics}


def _number(metric: Measure, rows: pa.Table, besides: Sequence[Mapping[str, float]]) -> Number:
    """The number over the rows that the metric scored, and some scores besides."""
    scored = rows.filter(pc.is_valid(rows[metric.name]))
    sums = {
        field.name: float(np.sum(scored[field.name].to_numpy())) + sum(scores[field.name] for scores in besides)
        for field in metric.columns
    }
    n = len(scored) + len(besides)
    return Number(metric.aggregate(sums, n) if n else None, n)


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    # Imported here: it takes a second that the command line need not pay.
    from scipy.stats import rankdata

    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 3:
        return None
    ranks, others = (rankdata(values[both]) - (both.sum() + 1) / 2 for values in (one, other))
    spread = math.sqrt(float(ranks @ ranks) * float(others @ others))
    return float(ranks @ others) / spread if spread else None


def common_users(runs: Iterable[UserScores]) -> frozenset[str]:
    """The users who are ok in all runs."""
    return frozenset.intersection(*(run.ok_users for run in runs))


def common_numbers(runs: Sequence[UserScores], measures: Sequence[Sequence[Measure]]) -> list[Numbers]:
    """What the measures of each run report over the users whom the runs have in common, so that no gap helps a run.

    They are the users who are ok in all runs, and have a value in all runs that have the measure.
    """
    shared = common_users(runs)
    names = {measure.name for of_run in measures for measure in of_run}
    users = {name: _users_with_value(runs, shared, name) for name in names}
    numbers = []
    for run, of_run in zip(runs, measures, strict=True):
        found: Numbers = {}
        for chosen in set(users.values()):
            found |= run.numbers([measure for measure in of_run if users[measure.name] == chosen], chosen)
        numbers.append({measure.name: found[measure.name] for measure in of_run})
    return numbers


def _users_with_value(runs: Iterable[UserScores], users: frozenset[str], name: str) -> frozenset[str]:
    """Those of the users with a value of a measure in all runs where some of them have one."""
    having = [run.users_with(name) & users for run in runs]
    return users.intersection(*filter(None, having))
