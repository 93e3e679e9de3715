"""A sweep: one job file whose settings may be lists, run for every combination with all that can be shared."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from drp_ray.config import Config, checked, read_settings
from drp_ray.errors import BadInput
from drp_ray.job import Job, open_job
from drp_ray.plan import VERSIONS
from drp_ray.report import Result
from drp_ray.runner import is_current

SWEEP = "sweep.json"
AVERAGED = ("temperature", "seed")
"""Settings over which published results are means (DPL: five temperatures, DRP: two)."""

Place = tuple[str, ...]
"""The keys that lead to a setting."""


@dataclass(frozen=True)
class Choice:
    """One value of a swept setting."""

    place: Place
    value: Any

    @property
    def label(self) -> str:
        """As a run's name has it: a method or a model by its own name, anything else after its key."""
        value = self.value if isinstance(self.value, str | int | float) else json.dumps(self.value)
        told = re.sub(r"[^A-Za-z0-9._]+", "-", str(value).rpartition("/")[2]).strip("-")
        return told if told and isinstance(self.value, str) else f"{self.place[-1]}{told}"


@dataclass(frozen=True)
class Run:
    """One combination: what was chosen for it, and its job."""

    choices: tuple[Choice, ...]
    job: Job


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
    """All combinations of a job file."""

    name: str
    runs: tuple[Run, ...]


def open_sweep(path: Path, overrides: Iterable[str] = ()) -> Sweep:
    """Open the job of every combination, the last list of the file varying fastest; nothing is written.

    Raises:
        BadInput: a combination is no valid job, a list is empty, or two combinations have one name.
    """
    settings = read_settings(path, overrides)
    axes = list(_axes(settings, Config, ()))
    for place, values in axes:
        if not values:
            raise BadInput(f"{path}: {'.'.join(place)} is an empty list; a sweep needs a value of it")
    runs = []
    for combination in product(*(values for _, values in axes)):
        choices = tuple(Choice(place, value) for (place, _), value in zip(axes, combination, strict=True))
        runs.append(Run(choices, open_job(_config_of(settings, choices, path))))
    names = [run.job.config.name for run in runs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"{path}: several combinations are named {repeated[0]!r}: a list holds a value twice")
    return Sweep(str(settings["name"]), tuple(runs))


def _config_of(settings: Mapping[str, Any], choices: Sequence[Choice], path: Path) -> Config:
    chosen = deepcopy(dict(settings))
    for choice in choices:
        section = chosen
        for key in choice.place[:-1]:
            section = section[key]
        section[choice.place[-1]] = choice.value
    labels = [choice.label for choice in choices]
    chosen["name"] = "-".join([str(settings.get("name")), *labels])
    return checked(chosen, f"{path} ({', '.join(labels)})" if labels else str(path))


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
                if isinstance(entry, dict):
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
    return [
        StageForecast(name, users[name], len(complete[name]), sum(complete[name].values()))
        for name in VERSIONS
        if name in complete
    ]


def write_comparison(sweep: Sweep, results: Sequence[Result]) -> dict[str, Any]:
    """Put all runs' scores side by side, with means over temperatures and seeds; written where the runs are."""
    rows = [
        {
            "run": run.job.config.name,
            "choices": {".".join(choice.place): choice.value for choice in run.choices},
            "metrics": dict(result.metrics["metrics"]),
            "coverage": result.metrics["coverage"],
        }
        for run, result in zip(sweep.runs, results, strict=True)
    ]
    comparison = {"sweep": sweep.name, "runs": rows, "means": means_of(rows)}
    folder = sweep.runs[0].job.root.at("sweeps", sweep.name)
    folder.write(SWEEP, json.dumps(comparison, indent=1, sort_keys=True).encode())
    return comparison


def means_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean of every metric over the runs that differ in temperature or seed only.

    A metric that one of the runs lacks has no mean. There are no means where nothing is averaged.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        fixed = {place: value for place, value in row["choices"].items() if place.rpartition(".")[2] not in AVERAGED}
        groups.setdefault(json.dumps(fixed, sort_keys=True), []).append(row)
    if len(groups) == len(rows):
        return []
    return [
        {"choices": json.loads(fixed), "runs": len(group), "metrics": _means([row["metrics"] for row in group])}
        for fixed, group in groups.items()
    ]


def _means(metrics: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    values = {name: [each[name] for each in metrics] for name in metrics[0]}
    return {
        name: None if None in found else fmean(value for value in found if value is not None)
        for name, found in values.items()
    }
