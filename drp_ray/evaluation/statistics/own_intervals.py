"""The interval of a run's own numbers, from drawing its users: it says how far another sample of users would move them.

It belongs to one run. Whether two runs differ is told by the interval of their difference (`paired`), never by these.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from drp_ray.evaluation.statistics.measured import Measured, reported
from drp_ray.evaluation.statistics.paired import FEWEST_FOR_INTERVAL, Resampling
from drp_ray.evaluation.statistics.resampling import Matrix, bootstrap_sums
from drp_ray.evaluation.statistics.tests_of_differences import percentile_interval

Interval = tuple[float, float]

STREAM = 3
"""Stands behind the seed, so that these draws are others than those of pairs."""


def own_intervals(measured: Sequence[Measured], resampling: Resampling) -> dict[str, dict[str, Interval]]:
    """For every measure the 95% intervals of the runs, by the measure's and the run's names.

    There is none for fewer than `FEWEST_FOR_INTERVAL` users with a value. All matrices have the same users.
    """
    matrices = [matrix for each in measured for executions in each.runs.values() for matrix in executions]
    if not matrices or not len(matrices[0]):
        return {each.measure.name: {} for each in measured}
    sums = bootstrap_sums(np.hstack(matrices), resampling.draws, [resampling.seed, STREAM])
    split = iter(np.hsplit(sums, np.cumsum([matrix.shape[1] for matrix in matrices])[:-1]))
    drawn = {each.measure.name: {run: [next(split) for _ in made] for run, made in each.runs.items()}
             for each in measured}  # fmt: skip
    return {each.measure.name: _of_measure(each, drawn[each.measure.name]) for each in measured}


def _of_measure(measured: Measured, drawn: Mapping[str, Sequence[Matrix]]) -> dict[str, Interval]:
    intervals = {}
    for run, executions in measured.runs.items():
        has_value = np.any([matrix[:, 0] > 0 for matrix in executions], axis=0)
        numbers = reported(measured.measure, drawn[run])
        numbers = numbers[np.isfinite(numbers)]
        if has_value.sum() >= FEWEST_FOR_INTERVAL and len(numbers):
            intervals[run] = percentile_interval(numbers)
    return intervals
