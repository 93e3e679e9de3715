"""A sweep: one job file whose settings may be lists, run for every combination with all that can be shared."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from drp_ray.config import Config, checked, protocol_of, read_settings
from drp_ray.errors import BadInput, without_passwords
from drp_ray.evaluation.judge import measure_name
from drp_ray.evaluation.metrics.base import METRICS, Measure, open_metrics
from drp_ray.evaluation.user_scores import Numbers, common_numbers, common_users, values_of
from drp_ray.inputs.dataset import dataset_name
from drp_ray.job.opened_job import OpenedJob, open_job
from drp_ray.job.protocols import AVERAGED, Place, expand
from drp_ray.job.result import Result
from drp_ray.running.survey import is_current
from drp_ray.stages.order import STAGES
from drp_ray.stages.stage import base_name
from drp_ray.storage.folder import write_if_changed

SWEEP = "sweep.json"
LONGEST_LABEL = 60
"""Characters of a value that a run's name has at most."""


@dataclass(frozen=True)
class Choice:
    """One value of a swept setting, and how a run's name has it."""

    place: Place
    value: Any
    label: str

    @property
    def is_averaged(self) -> bool:
        """Whether results are means over it, as published ones are (DPL: five temperatures, Yelp: five samples)."""
        return self.place in AVERAGED


@dataclass(frozen=True)
class Run:
    """One combination: what was chosen for it, and its job."""

    choices: tuple[Choice, ...]
    job: OpenedJob


@dataclass(frozen=True)
class StageForecast:
    """How many folders of a stage the runs need together, and how many of them are complete."""

    stage: str
    runs: int
    folders: int
    there: int

    @property
    def to_make(self) -> int:
        """How many are not complete."""
        return self.folders - self.there


@dataclass(frozen=True)
class Sweep:
    """All combinations of a job file, and the protocol that they are made by, if any."""

    name: str
    runs: tuple[Run, ...]
    protocol: str | None = None


def open_sweep(path: Path, overrides: Iterable[str] = ()) -> Sweep:
    """Open the job of every combination, the last list of the file varying fastest; nothing is written.

    Raises:
        BadInput: a combination is no valid job, a list is empty or holds a value twice, or the file's protocol
            contradicts its settings.
    """
    settings = read_settings(path, overrides)
    protocol = protocol_of(settings, str(path))
    settings = expand(settings, protocol)
    name = settings.get("name")
    if not isinstance(name, str):
        raise BadInput(f"{path}: name: a sweep needs one name, a text (got {name!r})")
    axes = [choices_of(place, values, path) for place, values in _axes(settings, Config, ())]
    combinations = list(product(*axes))
    names = ["-".join([name, *(choice.label for choice in choices)]) for choices in combinations]
    if len(set(names)) < len(names):
        names = [f"{each}-{number}" for number, each in enumerate(names, 1)]
    runs = [
        Run(choices, _open(settings, choices, each, path)) for choices, each in zip(combinations, names, strict=True)
    ]
    return Sweep(name, tuple(runs), protocol)


def choices_of(place: Place, values: list[Any], path: Path) -> list[Choice]:
    """The values of one axis. Values that would be named alike are told apart by their number in the list."""
    setting = ".".join(place)
    if not values:
        raise BadInput(f"{path}: {setting} is an empty list; a sweep needs a value of it")
    if place[0] == "runtime":
        raise BadInput(f"{path}: {setting}: nothing in runtime changes a result; give one value")
    for number, value in enumerate(values):
        if value in values[:number]:
            raise BadInput(f"{path}: {setting} holds the value {value!r} twice")
    labels = [_label(place[-1], value) for value in values]
    if len(set(labels)) < len(labels):
        labels = [f"{label}-{number}" for number, label in enumerate(labels, 1)]
    return [Choice(place, value, label) for value, label in zip(values, labels, strict=True)]


def _label(key: str, value: Any) -> str:
    """A dataset, a method or a model by its own name, a number after its key, anything else by its key."""
    if isinstance(value, str):
        value = dataset_name(value) if key == "dataset" else without_passwords(value)
        name = re.sub(r"[^A-Za-z0-9._]+", "-", value.rstrip("/").rpartition("/")[2]).strip("-")
        return name[:LONGEST_LABEL] or key
    return f"{key}{value}".replace("+", "") if isinstance(value, int | float) else key


def _open(settings: Mapping[str, Any], choices: Sequence[Choice], name: str, path: Path) -> OpenedJob:
    chosen = deepcopy({**settings, "name": name})
    for choice in choices:
        section = chosen
        for key in choice.place[:-1]:
            section = section[key]
        section[choice.place[-1]] = choice.value
    try:
        return open_job(checked(chosen, str(path)))
    except BadInput as error:
        settings_chosen = ", ".join(f"{'.'.join(choice.place)}={choice.value!r}" for choice in choices)
        raise BadInput(f"{error} (with {settings_chosen})" if settings_chosen else str(error)) from error


def _axes(settings: Mapping[str, Any], section: type[BaseModel], place: Place) -> Iterator[tuple[Place, list[Any]]]:
    """The settings that hold a list where a job has one value (or a list of lists where a job has a list)."""
    for key, value in settings.items():
        field = section.model_fields.get(key)
        if field is None:
            continue
        here, kind = (*place, key), field.annotation
        if isinstance(value, list):
            if get_origin(kind) is not tuple or (value and all(isinstance(entry, list) for entry in value)):
                yield here, value
        elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _axes(value, kind, here)
        elif isinstance(value, dict) and get_origin(kind) is dict and issubclass(get_args(kind)[1], BaseModel):
            for name, entry in value.items():
                if isinstance(entry, list):
                    yield (*here, name), entry
                elif isinstance(entry, dict):
                    yield from _axes(entry, get_args(kind)[1], (*here, name))


def forecast(sweep: Sweep) -> list[StageForecast]:
    """What of each stage is there and what is to be made, before anything runs."""
    complete: dict[str, dict[str, bool]] = {}
    users: dict[str, int] = {}
    for run in sweep.runs:
        manifests = run.job.manifests()
        for name, info in run.job.plan.stages.items():
            complete.setdefault(name, {})[info.folder.uri] = is_current(manifests[name], manifests)
            users[name] = users.get(name, 0) + 1
    order = [stage.name for stage in STAGES]
    return [
        StageForecast(name, users[name], len(complete[name]), sum(complete[name].values()))
        for name in sorted(complete, key=lambda name: order.index(base_name(name)))
    ]


def write_comparison(sweep: Sweep, results: Sequence[Result]) -> dict[str, Any]:
    """Put all runs' scores side by side, with means over what is averaged; written where the runs are.

    Runs that predict for the same users are compared on those who are ok in all of them (`metrics`, `n`); what a run
    had besides is `lost`. A measure that some of these users lack in a run is over the others in all runs that have it:
    `scored` is how many users each measure is over. `own` are its numbers over its own ok users,
    `with_failures_as_empty` over all its users.
    """
    rows = []
    for run, result, (shared, numbers) in zip(sweep.runs, results, _in_common(sweep.runs, results), strict=True):
        rows.append(
            {
                "run": run.job.config.name,
                "method": result.metrics["method"],
                "choices": {".".join(choice.place): choice.value for choice in run.choices},
                "fixed": {".".join(choice.place): choice.value for choice in run.choices if not choice.is_averaged},
                "metrics": values_of(numbers),
                "n": len(shared),
                "scored": {name: number.n for name, number in numbers.items()},
                "users": len(result.users.users),
                "failed": result.metrics["failed_users"],
                "lost": len(result.users.ok_users - shared),
                "signatures": _signatures(result),
                "own": dict(result.metrics["metrics"]),
                "with_failures_as_empty": result.metrics["with_failures_as_empty"],
                "by_method": result.metrics["by_method"],
                "coverage": result.metrics["coverage"],
                "published": result.metrics["published"],
            }
        )
    averaged = sorted({".".join(choice.place) for run in sweep.runs for choice in run.choices if choice.is_averaged})
    comparison = {
        "sweep": sweep.name,
        "protocol": sweep.protocol,
        "runs": rows,
        "averaged_over": averaged,
        "means": means_of(rows),
    }
    folder = sweep.runs[0].job.root.at("sweeps", sweep.name)
    content = without_passwords(json.dumps(comparison, indent=1, sort_keys=True, default=str))
    write_if_changed(folder, SWEEP, content.encode())
    return {**comparison, "folder": folder.uri}


def _in_common(runs: Sequence[Run], results: Sequence[Result]) -> list[tuple[frozenset[str], Numbers]]:
    """For every run the users who are ok in all runs that predict for the same ones, and its numbers on them."""
    by_users: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        by_users.setdefault(run.job.plan.stages["users"].fingerprint, []).append(place)
    found: dict[int, tuple[frozenset[str], Numbers]] = {}
    for places in by_users.values():
        scores = [results[place].users for place in places]
        measures: list[list[Measure]] = [
            [*open_metrics(runs[place].job.config.evaluation, runs[place].job.cache), *results[place].judges]
            for place in places
        ]
        shared = common_users(scores)
        numbers = common_numbers(scores, measures)
        found |= {place: (shared, of_run) for place, of_run in zip(places, numbers, strict=True)}
    return [found[place] for place in range(len(runs))]


def _signatures(result: Result) -> dict[str, str]:
    """What the numbers of metrics and judges are computed with."""
    judges = result.metrics.get("judges", {})
    of_judges = {
        name: numbers["signature"]
        for judge, numbers in judges.items()
        for name in (measure_name(judge), f"{measure_name(judge)}_expected")
    }
    return {**result.metrics.get("signatures", {}), **of_judges}


def means_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean of every metric over the runs that differ only in settings that are averaged over.

    A metric or a judge that one of the runs lacks, or that was computed in several ways, has no mean. There are no
    means where nothing is averaged.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row["fixed"], sort_keys=True, default=str), []).append(row)
    if len(groups) == len(rows):
        return []
    return [
        {
            "choices": json.loads(fixed),
            "runs": len(group),
            "n": [row["n"] for row in group],
            "metrics": _means([row["metrics"] for row in group], _computed_alike(group)),
            "with_failures_as_empty": _means([row["with_failures_as_empty"] for row in group], _computed_alike(group)),
            "published": group[0].get("published"),
        }
        for fixed, group in groups.items()
    ]


def shown_measures(names: Iterable[str]) -> list[str]:
    """The measures that a table of many runs has room for: those in which one run can be better than another."""
    return [name for name in dict.fromkeys(names) if name not in METRICS or METRICS[name].better != "none"]


def _computed_alike(rows: Sequence[Mapping[str, Any]]) -> Callable[[str], bool]:
    """Whether a measure has one signature in all runs, such as a judge that is asked at one temperature."""
    return lambda name: len({row.get("signatures", {}).get(name) for row in rows}) == 1


def _means(
    metrics: Sequence[Mapping[str, float | None]], is_comparable: Callable[[str], bool]
) -> dict[str, float | None]:
    names = dict.fromkeys(name for each in metrics for name in each)
    values = {name: [each.get(name) for each in metrics] for name in names}
    return {
        name: fmean(value for value in found if value is not None)
        if None not in found and is_comparable(name)
        else None
        for name, found in values.items()
    }
