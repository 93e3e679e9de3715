"""The runs' settings, what differs between them, with what they were made, and how to make them again."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from drp_ray.job.finished import FinishedRun
from drp_ray.viewer.html import Child, Html, element, table
from drp_ray.viewer.sections.base import Report, Section, run_label

NAMES_ONLY = ("name", "root")
"""Settings that are different in every run, or say nothing of its results."""


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{before}{key}."))
        else:
            found[f"{before}{key}"] = value
    return found


def differing_settings(runs: Sequence[FinishedRun]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, with each run's value; nothing in `runtime` changes a result."""
    every = [flat(run.settings) for run in runs]
    keys = dict.fromkeys(key for settings in every for key in settings)
    return {
        key: [settings.get(key) for settings in every]
        for key in keys
        if key not in NAMES_ONLY
        and not key.startswith("runtime.")
        and any(settings.get(key) != every[0].get(key) for settings in every)
    }


def configuration(report: Report) -> Child:
    """What differs first, then all settings."""
    runs = [facts.run for facts in report.runs]
    differing = differing_settings(runs)
    every = [flat(run.settings) for run in runs]
    keys = sorted({key for settings in every for key in settings}, key=lambda key: (key not in differing, key))
    rows = [[key, *(_written(settings.get(key)) for settings in every)] for key in keys if key not in NAMES_ONLY]
    labels = [run_label(report, place) for place in range(len(runs))]
    whole = element(
        "details",
        element("summary", f"All {len(rows)} settings"),
        table(["Setting", *labels], rows, numbers_from=99, class_="settings"),
    )
    if len(runs) == 1:
        return whole
    if not differing:
        return [element("p", "The runs do not differ in any setting that changes a result."), whole]
    shown = [[key, *map(_written, values)] for key, values in differing.items()]
    return [table(["What differs", *labels], shown, numbers_from=99, class_="settings"), whole]


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def making(report: Report) -> Child:
    """Versions, commits and dates, and the job file with the command that makes a run again."""
    return [
        _versions(report),
        [_again(report, place) for place in range(len(report.runs))],
    ]


def _versions(report: Report) -> Html:
    records = [facts.run.record for facts in report.runs]
    libraries = sorted({name for record in records for name in record["libraries"]})
    rows: list[list[Child]] = [
        [name, *(record["libraries"].get(name, "–") for record in records)] for name in libraries
    ]
    rows.insert(0, ["commit", *(_commit(record) for record in records)])
    rows.append(["began, or went on with other versions", *(_dates(record) for record in records)])
    return table(["", *(run_label(report, place) for place in range(len(records)))], rows, numbers_from=99)


def _commit(record: Mapping[str, Any]) -> Html:
    return element("code", str(record["commit"] or "unknown")[:16])


def _dates(record: Mapping[str, Any]) -> str:
    return ", ".join(str(entry["since"] or "unknown") for entry in record.get("history", [])) or "unknown"


def _again(report: Report, place: int) -> Html:
    run = report.runs[place].run
    name = run.record["name"]
    job = yaml.safe_dump(dict(run.settings), sort_keys=False, allow_unicode=True, width=100)
    command = f"drp-ray run {shlex.quote(f'{name}.yaml')}\ndrp-ray report {shlex.quote(f'{name}.yaml')}"
    versions = [f"{library}=={version}" for library, version in sorted(run.record["libraries"].items())]
    return element(
        "details",
        element("summary", "How to make ", run_label(report, place), " again"),
        element("p", f"With these versions installed ({', '.join(versions)}), write {name}.yaml:"),
        element("pre", element("code", job), tabindex=0),
        element("p", "Then:"),
        element("pre", element("code", command), tabindex=0),
    )


CONFIGURATION = Section("configuration", "Configuration", configuration)
MAKING = Section("making", "How it was made, and how to make it again", making)
