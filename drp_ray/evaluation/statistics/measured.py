"""What is measured of several runs on the same users, and the numbers that follow from it.

A run may be several executions (temperatures, seeds, samples of users). It reports the mean of what these report.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drp_ray.evaluation.metrics.base import Measure
from drp_ray.evaluation.statistics.resampling import Matrix
from drp_ray.evaluation.statistics.tests_of_differences import Draws

Executions = Sequence[Matrix]
"""A matrix for each execution of a run, or their sums, a row a draw."""


@dataclass(frozen=True)
class Measured:
    """A measure, and what every run that has it has of it, by the run's name; pairs are the first run and each other.

    An execution is a matrix with a row a user, the same users in the same order everywhere: 1 where the user has a
    value there and 0 where not, then the measure's columns, 0 where there is no value. Executions that stand side by
    side have a value of the same users.
    """

    measure: Measure
    runs: Mapping[str, Executions]


def numbers_of_executions(measure: Measure, executions: Executions) -> list[float | None]:
    """What the measure reports of each execution; None for one without a user."""
    numbers = [float(reported(measure, [total(matrix)])[0]) for matrix in executions]
    return [None if math.isnan(number) else number for number in numbers]


def is_mean(measure: Measure) -> bool:
    """Whether the measure's number is the mean of the users' own numbers, so that it can be averaged within a user."""
    if len(measure.columns) != 1:
        return False
    one, two, both = (measure.aggregate({measure.name: value}, n) for value, n in ((1.0, 1), (2.0, 1), (3.0, 2)))
    return math.isclose(both, (one + two) / 2, rel_tol=1e-12)


def user_differences(measure: Measure, a: Executions, b: Executions) -> Draws:
    """For a mean, every user's own difference, weighted so that their mean is the difference a - b of the runs.

    Where all executions are of the same users it is the user's mean difference. Else a user adds to each execution how
    far the user's difference there is from the mean of that execution, so that their spread is that of a - b.
    """
    sides = aligned(a, b)
    users = np.any([one[:, 0] > 0 for one, _ in sides], axis=0)
    mean, deviations = 0.0, np.zeros(len(users))
    for one, other in sides:
        there = one[:, 0]
        differences = np.nan_to_num(reported(measure, [one])) - np.nan_to_num(reported(measure, [other]))
        mean_here = differences.sum() / there.sum()
        mean += mean_here
        deviations += (differences - mean_here * there) / there.sum()
    return np.asarray((mean + users.sum() * deviations[users]) / len(sides))


def averaged_first(measured: Measured) -> Measured:
    """The executions of a mean as one, averaged within the user, where all are of the same users."""
    if not is_mean(measured.measure):
        return measured
    averaged = {
        run: [np.mean(matrices, axis=0)]
        if all(np.array_equal(matrix[:, 0], matrices[0][:, 0]) for matrix in matrices)
        else matrices
        for run, matrices in measured.runs.items()
    }
    return replace(measured, runs=averaged)


def reported(measure: Measure, sums: Executions) -> Draws:
    """What is reported of each draw: the mean over the executions; NaN where one has no user."""
    names = [field.name for field in measure.columns]
    each = [
        measure.aggregate_draws({name: matrix[:, place] for place, name in enumerate(names, 1)}, matrix[:, 0])
        for matrix in sums
    ]
    return np.asarray(np.mean(each, axis=0))


def total(matrix: Matrix) -> Matrix:
    """The sums over all users, as of one draw."""
    return np.asarray(matrix.sum(axis=0, keepdims=True))


def aligned(a: Executions, b: Executions) -> list[tuple[Matrix, Matrix]]:
    """Executions side by side, each run's repeated so that both have equally many: that changes no mean."""
    number = math.lcm(len(a), len(b))
    return [(a[place % len(a)], b[place % len(b)]) for place in range(number)]
