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
from drp_ray.job.compared_runs import why_not_paired
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
class SideBySide:
    """Results that were to write the same texts, by their places among all, and what was found of them together.

    `compared` is the document of `job.compare`, None where nothing is compared; `refused` says why. `uniqueness` is
    empty where no job embedded reviews.
    """

    places: tuple[int, ...]
    compared: Mapping[str, Any] | None = None
    refused: str | None = None
    uniqueness: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """What was found of the results, in their order, of all executions, in theirs, and of results side by side.

    `halves` tell of each user with embeddings whether the user is in the more unique half.
    """

    intervals: Sequence[Intervals]
    of_executions: Sequence[Intervals]
    values: Sequence[GroupScores]
    side_by_side: Sequence[SideBySide]
    curves: Sequence[Mapping[str, Any]] = ()

    @property
    def halves(self) -> dict[str, bool]:
        """By user, from the first results that have embeddings."""
        found = next((each.uniqueness for each in self.side_by_side if each.uniqueness), {})
        unique = frozenset(found.get("more_unique", ()))
        return {user: user in unique for user in found.get("distances", ())}


def find(groups: Sequence[RunGroup]) -> Findings:
    """Compute all of it; equal results give equal findings."""
    resampling, draws = Resampling(DRAWS, SEED), Draws(DRAWS, SEED)
    read = [read_group(group, group.name, with_failures=False) for group in groups]
    values = [group_scores(group) for group in groups]
    merits = [_merits(each) for each in values]
    intervals = [intervals_of(each, resampling) for each in read]
    return Findings(
        intervals=intervals,
        of_executions=[
            interval
            for each, own in zip(read, intervals, strict=True)
            for interval in ([own] if len(each.executions) == 1 else intervals_of_executions(each, resampling))
        ],
        values=values,
        side_by_side=[
            SideBySide(
                places,
                **_comparison([read[place] for place in places], resampling),
                uniqueness=_uniqueness([groups[place] for place in places], [merits[place] for place in places], draws),
            )
            for places in of_the_same_targets([each.targets for each in values])
        ],
        curves=curves(groups, merits, draws),
    )


def of_the_same_targets(targets: Sequence[Mapping[str, bytes]]) -> list[tuple[int, ...]]:
    """The places of results in sets, in which any two share users and were to write the same text for each of them."""
    found: list[list[int]] = []
    for place, own in enumerate(targets):
        for places in found:
            if all(_are_the_same(targets[other], own) for other in places):
                places.append(place)
                break
        else:
            found.append([place])
    return [tuple(places) for places in found]


def _are_the_same(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    return bool(one.keys() & other.keys()) and why_not_paired("", "", one, other) is None


def _comparison(read: Sequence[ReadRun], resampling: Resampling) -> dict[str, Any]:
    """The comparison, or the sentence that says why there is none. Results of several protocols are compared too."""
    if len(read) < 2:
        return {}
    try:
        return {"compared": compare(read, resampling)}
    except BadInput as error:
        return {"refused": str(error)}


def _uniqueness(groups: Sequence[RunGroup], merits: Sequence[GroupScores], draws: Draws) -> Mapping[str, Any]:
    found = uniqueness(groups, merits, draws)
    return {} if "missing" in found else found


def _merits(scores: GroupScores) -> GroupScores:
    """Without the measures that describe a text and are no merit: a gain in them means nothing."""
    return replace(scores, values={name: scores.values[name] for name in shown_measures(scores.values)})
