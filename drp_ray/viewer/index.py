"""The index of a page: numbers of the users it holds, and where their documents lie. It comes before the app."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drp_ray.viewer.blocks import Address
from drp_ray.viewer.measures import better_of, digits_of, in_order
from drp_ray.viewer.sections.base import Report
from drp_ray.viewer.user_table import UserTable

HALVES = {"": "All users", "1": "More unique half", "0": "Less unique half"}


def make_index(report: Report, addresses: Sequence[Address], items: Mapping[str, Address]) -> dict[str, Any]:
    """Columns over the chosen users; a user whom a run does not have is null there."""
    runs, tables = zip(*((facts.run, facts.users) for facts in report.runs), strict=True)
    chosen = report.chosen.user_ids
    methods = sorted({method for table in tables for method in table.rows["method"].to_pylist()})
    retrieval = runs[0].settings["retrieval"]
    return {
        "title": report.title,
        "has_texts": report.has_texts,
        "is_sample": len(chosen) < report.chosen.of,
        "query": retrieval["query"],
        "document": retrieval["document"],
        "lowercase": retrieval["lowercase"],
        "methods": methods,
        "measures": [_measure(report, name) for name in in_order(name for table in tables for name in table.measures)],
        "runs": [
            {"name": run.name, "target": target, **_columns(table, chosen, methods)}
            for run, table, target in zip(runs, tables, _targets(tables, chosen), strict=True)
        ],
        "users": {
            "id": list(chosen),
            "at": addresses,
            **_halves(report.findings.halves, chosen),
        },
        "items": {"id": list(items), "at": list(items.values())},
    }


def _measure(report: Report, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": report.title_of(name),
        "digits": digits_of(name),
        "is_merit": better_of(name) != "none",
    }


def _halves(halves: Mapping[str, bool], chosen: Sequence[str]) -> dict[str, Any]:
    """1 for the more unique half, 0 for the other, null for a user without embeddings; nothing where nobody has any."""
    if not halves:
        return {}
    return {"half": [None if (half := halves.get(user)) is None else int(half) for user in chosen]}


def to_json(index: Mapping[str, Any]) -> str:
    """The index as it may stand inside a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(index, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _columns(table: UserTable, chosen: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    rows = {user: place for place, user in enumerate(table.user_ids)}
    places = [rows.get(user) for user in chosen]

    def column(name: str) -> list[Any]:
        values = table.rows[name].to_pylist()
        return [None if place is None else values[place] for place in places]

    return {
        "state": column("status"),
        "method": [None if method is None else methods.index(method) for method in column("method")],
        "fallback": column("fallback"),
        "n_differences": column("n_differences"),
        "n_failed_differences": column("n_failed_differences"),
        "prediction_chars": column("prediction_chars"),
        "reference_chars": column("reference_chars"),
        "scores": {name: _scores(table.values(name), places) for name in table.measures},
    }


def _scores(values: np.ndarray, places: Sequence[int | None]) -> list[float | None]:
    """As they are: the page rounds them when it writes them, and twice rounded they would differ from the summary's."""
    return [None if place is None or np.isnan(values[place]) else float(values[place]) for place in places]


def _targets(tables: Sequence[UserTable], chosen: Sequence[str]) -> list[list[int | None]]:
    """Of each run and user the first run that was to write the same text: equal numbers mean the same target."""
    first: dict[tuple[str, bytes], int] = {}
    found = []
    for number, targets in enumerate(table.targets for table in tables):
        there = [(user, targets[user]) if user in targets else None for user in chosen]
        found.append([None if target is None else first.setdefault(target, number) for target in there])
    return found
