"""Compares finished runs on the users that all of them have, and says what can be believed of the differences.

The result is a document for JSON, whose fields docs/statistics.md describes. No Ray is started.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drp_ray.errors import BadInput
from drp_ray.evaluation.metrics.base import Measure
from drp_ray.evaluation.statistics import (
    Executions,
    Matrix,
    Measured,
    Pair,
    Resampling,
    compare_runs,
    numbers_of_executions,
)
from drp_ray.job.compared_runs import Scored, read, why_not_paired
from drp_ray.job.finished import RunGroup
from drp_ray.job.protocols import check_same_protocol, marked

FAMILY = "the pairs of one measure"
DECIMALS = 12
"""Decimals of a score that is reported: those behind differ with how a machine adds up."""

P_DIGITS = 10
"""Significant digits of a p value, which may be very small."""

SEVERAL = " and "
"""Stands between the signatures of a run whose executions differ in it."""

Document = dict[str, Any]


@dataclass(frozen=True)
class ReadRun:
    """A run with the scores of its executions."""

    name: str
    method: str
    protocol: str | None
    executions: tuple[Scored, ...]

    @property
    def users(self) -> frozenset[str]:
        """All users whom it predicts for."""
        return frozenset(chain.from_iterable(each.users for each in self.executions))

    @property
    def failed(self) -> frozenset[str]:
        """The users who failed in one of its executions."""
        return frozenset(chain.from_iterable(each.users[~each.is_ok] for each in self.executions))


@dataclass(frozen=True)
class _Common:
    """The users who are compared, in user_id order, and for each the number of the item that was written about.

    `sides` says which of them are compared where executions stand side by side, a row for each such place.
    """

    users: NDArray[np.object_]
    items: NDArray[np.int64]
    sides: NDArray[np.bool_]

    def places(self, execution: Scored) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where these users are here, and where in the execution; without those whom it does not predict for."""
        place_of = {user: place for place, user in enumerate(execution.users)}
        found = [(here, place_of[user]) for here, user in enumerate(self.users) if user in place_of]
        here, there = zip(*found, strict=True) if found else ((), ())
        return np.array(here, np.int64), np.array(there, np.int64)

    def side_by_side(self, executions: Executions) -> Executions:
        """The executions of a run, each without the users whom one beside it does not predict for."""
        if self.sides.all():
            return executions
        return [
            np.where(side[:, None], executions[place % len(executions)], 0.0) for place, side in enumerate(self.sides)
        ]


def read_runs(groups: Sequence[RunGroup], mixed_protocols: bool = False) -> list[ReadRun]:
    """Read what is compared of each run. Runs of several protocols may stand together, marked, where that is asked for.

    Raises:
        BadInput: there are fewer than two runs, or they are of several protocols.
    """
    if len(groups) < 2:
        raise BadInput(f"{groups[0].name if groups else 'nothing'} is one run; name at least two to compare")
    is_mixed = check_same_protocol({group.name: group.protocol for group in groups}, mixed_protocols)
    return [read_group(group, marked(group.name, group.protocol) if is_mixed else group.name) for group in groups]


def read_group(group: RunGroup, name: str, with_failures: bool = True) -> ReadRun:
    """Read what is compared of one result, under a name; see `compared_runs.read`."""
    executions = tuple(read(run, with_failures) for run in group.executions)
    return ReadRun(name, group.config.method, group.protocol, executions)


def compare(runs: Sequence[ReadRun], resampling: Resampling) -> Document:
    """Compare the first run with each other one.

    Raises:
        BadInput: no user is ok in all runs or in executions that stand side by side, or runs wrote about other items
            for the same users.
    """
    common = _common(runs)
    measures = {measure.name: measure for run in runs for each in run.executions for measure in each.measures}
    samples = {name: _sample(measure, runs, common) for name, measure in measures.items()}
    compared = compare_runs([each.measured for each in samples.values() if each.is_testable], common.items, resampling)
    n = len(common.users)
    return {
        "runs": [run.name for run in runs],
        "users": {
            "n": n,
            "n_items": len(np.unique(common.items)),
            "excluded": {run.name: len(run.users) - n for run in runs},
            "failed": {run.name: len(run.failed) for run in runs},
            "lost": {run.name: len(run.users - run.failed) - n for run in runs},
        },
        "draws": resampling.draws,
        "seed": resampling.seed,
        "family": FAMILY,
        "details": {
            run.name: {
                "method": run.method,
                "protocol": run.protocol,
                "executions": [each.name for each in run.executions],
            }
            for run in runs
        },
        "metrics": {name: _metric(sample, runs, compared.get(name)) for name, sample in samples.items()},
    }


class CommonMean(NamedTuple):
    """A measure's number of each run, by the run's name, and how many users it is over; None where a run lacks it."""

    n: int
    means: Mapping[str, float | None]


def common_means(runs: Sequence[ReadRun], measures: Sequence[Measure]) -> tuple[int, dict[str, CommonMean]]:
    """How many users one or more runs are compared on, and what each measure reports of them, by its name.

    Raises:
        BadInput: as `compare`.
    """
    common = _common(runs)
    samples = {measure.name: _sample(measure, runs, common) for measure in measures}
    return len(common.users), {
        name: CommonMean(sample.n, {run.name: _number_of_run(sample, run)["mean"] for run in runs})
        for name, sample in samples.items()
    }


def as_json(document: Document) -> bytes:
    """The same document gives the same bytes."""
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _common(runs: Sequence[ReadRun]) -> _Common:
    are_ok = frozenset.intersection(*(run.users - run.failed for run in runs))
    if not are_ok:
        raise BadInput(_nobody_in_common(runs))
    sides = _sides(runs, are_ok)
    users = sorted(frozenset().union(*sides))
    items, targets = _targets(runs[0].executions, users)
    for run in runs[1:]:
        refused = why_not_paired(runs[0].name, run.name, targets, _targets(run.executions, users)[1])
        if refused is not None:
            raise BadInput(refused)
    numbers = {item: number for number, item in enumerate(sorted(set(items.values())))}
    return _Common(
        np.array(users, np.object_),
        np.array([numbers[items[user]] for user in users], np.int64),
        np.array([[user in side for user in users] for side in sides], np.bool_),
    )


def _sides(runs: Sequence[ReadRun], users: frozenset[str]) -> list[frozenset[str]]:
    """Those of the users whom all runs predict for, where executions stand side by side.

    They stand in their order, each run's repeated so that all have equally many.

    Raises:
        BadInput: somewhere there is no such user.
    """
    sides = []
    for place in range(math.lcm(*(len(run.executions) for run in runs))):
        beside = [run.executions[place % len(run.executions)] for run in runs]
        sides.append(users.intersection(*(each.users for each in beside)))
        if not sides[-1]:
            names = " and ".join(dict.fromkeys(each.name for each in beside))
            raise BadInput(
                f"{names} stand side by side, and no user is ok in all of them; give all runs the same users.sample "
                "and users.seed, or compare runs of single seeds"
            )
    return sides


def _nobody_in_common(runs: Sequence[ReadRun]) -> str:
    counts = ", ".join(f"{run.name}: {len(run.users):,} users, {len(run.failed):,} of them failed" for run in runs)
    if frozenset.intersection(*(run.users for run in runs)):
        return f"no user is ok in all runs ({counts}); run them again with --retry-errors"
    return f"no user is in all runs ({counts}); runs are compared on the same users of one dataset"


def _targets(executions: Sequence[Scored], users: Sequence[str]) -> tuple[dict[str, str], dict[str, bytes]]:
    """The users' items, and the digests of what is to be written about them."""
    items: dict[str, str] = {}
    targets: dict[str, bytes] = {}
    for each in executions:
        items.update(zip(each.users, each.items, strict=True))
        for user, target in zip(each.users, each.targets, strict=True):
            if targets.setdefault(user, target) != target:
                raise BadInput(f"{each.name}: the target of {user!r} is not that of the other executions of its run")
    return {user: items[user] for user in users}, {user: targets[user] for user in users}


@dataclass(frozen=True)
class _Sample:
    """What is there of a measure: the runs that have it, why others are left out, and users without a value."""

    measured: Measured
    notes: Mapping[str, str]
    signatures: Mapping[str, str | None]
    missing: int
    refused: str | None
    is_testable: bool

    @property
    def n(self) -> int:
        """The users with a value in every run that has the measure."""
        there = [matrix[:, 0] > 0 for matrices in self.measured.runs.values() for matrix in matrices]
        return int(np.any(there, axis=0).sum()) if there else 0


def _sample(measure: Measure, runs: Sequence[ReadRun], common: _Common) -> _Sample:
    values = {run.name: [_values(measure, each, common) for each in run.executions] for run in runs}
    notes = {}
    for run in runs:
        lacking = [each.name for each, (there, valid, _) in zip(run.executions, values[run.name], strict=True)
                   if there.any() and not valid.any()]  # fmt: skip
        if lacking:
            notes[run.name] = f"{', '.join(lacking)}: no user has a value of {measure.title}"
    having = [run for run in runs if run.name not in notes]
    found = {run.name: _signatures(measure, run) for run in having}
    signatures = {run: SEVERAL.join(each) or None for run, each in found.items()}
    is_alike = len({signature for each in found.values() for signature in each}) <= 1
    refused = None if is_alike else _refusal(measure, signatures)
    dropped = np.any(
        [there & ~valid for run in having for there, valid, _ in values[run.name]]
        or [np.zeros(len(common.users), bool)],
        axis=0,
    )
    matrices: dict[str, Executions] = {
        run.name: common.side_by_side([_matrix(there & ~dropped, columns) for there, _, columns in values[run.name]])
        for run in having
    }
    is_testable = refused is None and runs[0] in having and len(having) > 1
    return _Sample(Measured(measure, matrices), notes, signatures, int(dropped.sum()), refused, is_testable)


def _values(
    measure: Measure, execution: Scored, common: _Common
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Matrix]:
    """Which common users the execution predicts for, which of them have a value, and the measure's columns."""
    here, there = common.places(execution)
    columns = np.full((len(common.users), len(measure.columns)), np.nan)
    if measure.name in execution.columns:
        columns[here] = execution.columns[measure.name][there]
    predicts = np.zeros(len(common.users), np.bool_)
    predicts[here] = True
    return predicts, np.isfinite(columns).all(axis=1), columns


def _matrix(is_used: NDArray[np.bool_], columns: Matrix) -> Matrix:
    """See `Measured`."""
    return np.column_stack([is_used.astype(np.float64), np.where(is_used[:, None], columns, 0.0)])


def _signatures(measure: Measure, run: ReadRun) -> list[str]:
    """Those of its executions, each once."""
    return sorted({each.signatures.get(measure.name) or "" for each in run.executions})


def _refusal(measure: Measure, signatures: Mapping[str, str | None]) -> str:
    told = "; ".join(f"{run}: {signature}" for run, signature in signatures.items())
    return (
        f"{measure.title} was computed in several ways, whose numbers cannot be compared ({told}). "
        "Run the jobs again with the same versions and settings"
    )


def _metric(sample: _Sample, runs: Sequence[ReadRun], pairs: Sequence[Pair] | None) -> Document:
    """The document of one measure. A measure that is refused, or that a run lacks, has no number of that run."""
    tested = {pair.b: pair for pair in pairs or ()}
    first, *others = (run.name for run in runs)
    return {
        "title": sample.measured.measure.title,
        "n": sample.n,
        "missing": sample.missing,
        "note": sample.refused,
        "runs": {run.name: _number_of_run(sample, run) for run in runs},
        "pairs": [
            _pair(tested.get(other) or Pair(first, other, 0, notes={"difference": _why(sample, first, other)}))
            for other in others
        ],
    }


def _why(sample: _Sample, first: str, other: str) -> str:
    return sample.refused or sample.notes.get(first) or sample.notes[other]


def _number_of_run(sample: _Sample, run: ReadRun) -> Document:
    measure = sample.measured.measure
    matrices = sample.measured.runs.get(run.name)
    compared = numbers_of_executions(measure, matrices) if matrices and sample.refused is None else []
    n = len(run.executions)
    # An execution that stands beside several others has a number beside each.
    numbers = [_mean(compared[place::n]) for place in range(n)] if compared else []
    known = [number for number in numbers if number is not None]
    is_whole = bool(numbers) and len(known) == len(numbers)
    with_failures = [each.with_failures.get(measure.name) for each in run.executions]
    return {
        "mean": _rounded(fmean(known)) if is_whole else None,
        "sd_over_executions": _rounded(stdev(known)) if is_whole and len(known) > 1 else None,
        "executions": [_rounded(number) for number in numbers],
        "with_failures_as_empty": _rounded(_mean(with_failures)) if sample.refused is None else None,
        "signature": sample.signatures.get(run.name),
        "note": sample.notes.get(run.name),
    }


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return fmean(known) if known and len(known) == len(numbers) else None


def _pair(pair: Pair) -> Document:
    """The fields of a pair; an interval is a list of two numbers."""
    fields = asdict(pair)
    for name, value in fields.items():
        if name.startswith("p_") and value is not None:
            fields[name] = float(f"{value:.{P_DIGITS}g}")
        elif isinstance(value, float):
            fields[name] = _rounded(value)
        elif isinstance(value, tuple):
            fields[name] = [_rounded(each) for each in value]
    return {**fields, "notes": dict(pair.notes or {})}


def _rounded(number: float | None) -> float | None:
    # Adding 0 makes -0.0, which rounding leaves, a plain 0.
    return None if number is None else round(number, DECIMALS) + 0.0
