"""What is computed of the runs together: comparison, intervals of their own numbers, uniqueness, curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from drp_ray.errors import BadInput
from drp_ray.evaluation.analyses.intervals import Draws
from drp_ray.evaluation.statistics import Resampling
from drp_ray.evaluation.statistics.own_intervals import Interval
from drp_ray.job.analyse import curves, uniqueness
from drp_ray.job.compare import ReadRun, compare, read_group
from drp_ray.job.finished import RunGroup
from drp_ray.job.own_numbers import intervals_of, intervals_of_executions
from drp_ray.job.sweep import shown_measures
from drp_ray.job.user_values import GroupScores, group_scores

DRAWS = 2000
SEED = 0
"""What a report draws, and says. `drp-ray compare` draws more."""

Intervals = Mapping[str, Interval]
"""By the measure's name."""


@dataclass(frozen=True)
class Findings:
    """What was found of the results, in their order, and of all executions, in theirs.

    `compared` is the document of `job.compare`, None where nothing is compared; `refused` says why runs were not
    compared. `halves` tell of each user with embeddings whether the user is in the more unique half.
    """

    intervals: Sequence[Intervals]
    of_executions: Sequence[Intervals]
    values: Sequence[GroupScores]
    compared: Mapping[str, Any] | None = None
    refused: str | None = None
    uniqueness: Mapping[str, Any] = field(default_factory=dict)
    curves: Sequence[Mapping[str, Any]] = ()

    @property
    def halves(self) -> dict[str, bool]:
        """By user."""
        unique = frozenset(self.uniqueness.get("more_unique", ()))
        return {user: user in unique for user in self.uniqueness.get("distances", ())}


def find(groups: Sequence[RunGroup]) -> Findings:
    """Compute all of it; equal results give equal findings."""
    resampling, draws = Resampling(DRAWS, SEED), Draws(DRAWS, SEED)
    read = [read_group(group, group.name, with_failures=False) for group in groups]
    values = [group_scores(group) for group in groups]
    merits = [_merits(each) for each in values]
    found = uniqueness(groups, merits, draws)
    intervals = [intervals_of(each, resampling) for each in read]
    return Findings(
        intervals=intervals,
        of_executions=[
            interval
            for each, own in zip(read, intervals, strict=True)
            for interval in ([own] if len(each.executions) == 1 else intervals_of_executions(each, resampling))
        ],
        values=values,
        **_comparison(read, resampling),
        uniqueness={} if "missing" in found else found,
        curves=curves(groups, merits, draws),
    )


def _comparison(read: Sequence[ReadRun], resampling: Resampling) -> dict[str, Any]:
    """The comparison, or the sentence that says why there is none. Results of several protocols are compared too."""
    if len(read) < 2:
        return {}
    try:
        return {"compared": compare(read, resampling)}
    except BadInput as error:
        return {"refused": str(error)}


def _merits(scores: GroupScores) -> GroupScores:
    """Without the measures that describe a text and are no merit: a gain in them means nothing."""
    return replace(scores, values={name: scores.values[name] for name in shown_measures(scores.values)})
