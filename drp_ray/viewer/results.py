"""A result as the summary shows it: a run, or the mean of the executions that differ only in what is averaged over."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from drp_ray.job.finished import RunGroup
from drp_ray.job.score_lines import ScoreLine, score_lines
from drp_ray.job.user_values import differing_signatures


@dataclass(frozen=True)
class OwnNumber:
    """A measure's number of every execution over its own ok users; floor, ceiling and failures are means over them.

    There is no number in common, but those of the executions, where these do not compute it alike.
    """

    executions: tuple[float | None, ...]
    users: tuple[int, ...]
    floor: float | None = None
    ceiling: float | None = None
    as_empty: float | None = None
    is_alike: bool = True

    @property
    def value(self) -> float | None:
        """The mean over the executions; None where one has no number."""
        return mean_of(self.executions) if self.is_alike else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over several executions."""
        known = [value for value in self.executions if value is not None]
        return stdev(known) if self.is_alike and len(known) == len(self.executions) > 1 else None


@dataclass(frozen=True)
class Result:
    """A result: its executions are `places` among the report's runs. `published` is a paper's row of its protocol."""

    name: str
    method: str
    protocol: str | None
    places: tuple[int, ...]
    numbers: Mapping[str, OwnNumber]
    published: Mapping[str, Any] | None

    @property
    def colour(self) -> int:
        """The place whose colour it has."""
        return self.places[0]


def results_of(groups: Sequence[RunGroup]) -> tuple[Result, ...]:
    """The results, in their order; the runs are numbered through."""
    results, start = [], 0
    for group in groups:
        places = tuple(range(start, start + len(group.executions)))
        metrics = [run.metrics for run in group.executions]
        numbers = own_numbers(metrics, differing_signatures(group))
        results.append(Result(group.name, group.config.method, group.protocol, places, numbers, published_of(group)))
        start += len(places)
    return tuple(results)


def own_numbers(metrics: Sequence[Mapping[str, Any]], unlike: Collection[str] = ()) -> dict[str, OwnNumber]:
    """Every measure's numbers, from the `metrics.json` of all executions; `unlike` are computed in several ways."""
    lines = [{line.metric: line for line in score_lines(each)} for each in metrics]
    names = dict.fromkeys(name for each in lines for name in each)
    return {name: _own(name, lines, name not in unlike) for name in names}


def _own(name: str, lines: Sequence[Mapping[str, ScoreLine]], is_alike: bool) -> OwnNumber:
    found = [each.get(name, ScoreLine(name, None, 0)) for each in lines]
    values, users = tuple(line.value for line in found), tuple(line.users for line in found)
    if not is_alike:
        return OwnNumber(values, users, is_alike=False)
    return OwnNumber(
        values,
        users,
        floor=mean_of([line.floor for line in found]),
        ceiling=mean_of([line.ceiling for line in found]),
        as_empty=mean_of([line.as_empty for line in found]),
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where one is missing, since a mean over the others would be another number."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def published_of(group: RunGroup) -> Mapping[str, Any] | None:
    """The published row, beside the mean over all executions of its protocol and never beside some of them."""
    row: Mapping[str, Any] | None = group.executions[0].metrics["published"]
    if row is None or group.config.protocol is None or group.protocol != group.config.protocol:
        return None
    return row if set(row["protocol"].split("+")) <= set(group.config.protocol.split("+")) else None
