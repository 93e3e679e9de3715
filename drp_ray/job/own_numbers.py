"""The intervals of results' own numbers, each over the users who are ok in it. Nothing is compared here."""

from collections.abc import Mapping, Sequence

import numpy as np

from drp_ray.evaluation.metrics.base import Measure
from drp_ray.evaluation.statistics import Matrix, Measured, Resampling
from drp_ray.evaluation.statistics.own_intervals import Interval, own_intervals
from drp_ray.job.compare import ReadRun
from drp_ray.job.compared_runs import Scored


def intervals_of(run: ReadRun, resampling: Resampling) -> dict[str, Interval]:
    """The 95% interval of every measure's number, by the measure's name; without those that have none.

    The number is the mean over the executions, each over its own ok users. A user is drawn with all executions. A
    measure that the executions do not compute alike has no number, and so no interval.
    """
    users = sorted({user for each in run.executions for user in each.users[each.is_ok]})
    places = {user: place for place, user in enumerate(users)}
    measures = {measure.name: measure for each in run.executions for measure in each.measures}
    measured = [
        Measured(measure, {run.name: [_matrix(measure, each, places) for each in run.executions]})
        for measure in measures.values()
        if len({each.signatures.get(measure.name) for each in run.executions}) == 1
    ]
    found = own_intervals(measured, resampling)
    return {name: intervals[run.name] for name, intervals in found.items() if run.name in intervals}


def intervals_of_executions(run: ReadRun, resampling: Resampling) -> Sequence[Mapping[str, Interval]]:
    """The same of each execution by itself."""
    return [intervals_of(ReadRun(each.name, run.method, run.protocol, (each,)), resampling) for each in run.executions]


def _matrix(measure: Measure, execution: Scored, places: Mapping[str, int]) -> Matrix:
    """See `Measured`; a user who failed, or has no value, has zeros."""
    matrix = np.zeros((len(places), 1 + len(measure.columns)))
    columns = execution.columns.get(measure.name)
    if columns is not None:
        has_value = execution.is_ok & np.isfinite(columns).all(axis=1)
        rows = [places[user] for user in execution.users[has_value]]
        matrix[rows] = np.column_stack([np.ones(len(rows)), columns[has_value]])
    return matrix
