"""What can be said of runs that were measured on the same users: intervals, tests, and the smallest effect to be seen.

`measured` is what goes in, `resampling` draws users and swaps runs, `tests_of_differences` has the tests, and `paired`
compares whole runs. All work on columns of numbers, a row a user, and never see a text. docs/statistics.md says what
each number means.
"""

from drp_ray.evaluation.statistics.measured import Executions, Measured, numbers_of_executions
from drp_ray.evaluation.statistics.paired import Pair, Resampling, compare_runs
from drp_ray.evaluation.statistics.resampling import Matrix

__all__ = ["Executions", "Matrix", "Measured", "Pair", "Resampling", "compare_runs", "numbers_of_executions"]
