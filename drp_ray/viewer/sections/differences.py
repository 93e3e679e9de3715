"""The first result against each other one, user by user: how sure a difference is, who gains, and how much."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from drp_ray.job.compare_tables import written_p
from drp_ray.viewer.html import Child, Html, element, table
from drp_ray.viewer.measures import better_of, signed, written
from drp_ray.viewer.plots.scores import gain_plot
from drp_ray.viewer.sections.base import Report, Section, result_label, shown_and_folded

HEAD = (
    "Score",
    "Difference",
    "95% interval",
    "by item",
    "p (permutation)",
    "p (Holm)",
    "p (t-test)",
    "Smallest effect",
)


def differences(report: Report) -> Child:
    """Nothing for one result alone; the reason where results cannot be compared."""
    if len(report.results) == 1:
        return None
    pairs = [_pair(report, place) for place in range(1, len(report.results))]
    return [_said(report), *shown_and_folded([pair for pair in pairs if pair is not None], "other results")]


def _said(report: Report) -> Child:
    compared, refused = report.findings.compared, report.findings.refused
    if compared is None:
        return element("p", f"The results were not compared: {refused}", class_="note")
    users = compared["users"]
    said = (
        f"Over the {users['n']:,} users who have a text in every result, whose targets are {users['n_items']:,} items. "
        f"Intervals from {compared['draws']:,} draws of users, or of items with their users; p from swapping the two "
        f"results of users at random, {compared['draws']:,} times; Holm corrects for {compared['family']}; seed "
        f"{compared['seed']}. drp-ray compare makes more draws."
    )
    return [element("p", said, class_="quiet"), _mixed(report), _left_out(report, compared)]


def _mixed(report: Report) -> Child:
    protocols = [result.protocol for result in report.results]
    if len(set(protocols)) == 1:
        return None
    rows = ", ".join(f"{result.name} ({result.protocol or 'no protocol'})" for result in report.results)
    return element("p", f"These results are of different protocols, and no fair comparison: {rows}.", class_="alert")


def _left_out(report: Report, compared: Mapping[str, Any]) -> Child:
    """Users of each result who are in no comparison."""
    users = compared["users"]
    lines = [
        f"{result.name}: {excluded:,} users are not compared, {users['failed'][name]:,} failed here and "
        f"{users['lost'][name]:,} are missing or failed elsewhere."
        for result, name in zip(report.results, compared["runs"], strict=True)
        if (excluded := users["excluded"][name])
    ]
    return [element("p", line, class_="quiet") for line in lines]


def _pair(report: Report, place: int) -> Html | None:
    plots = [plot for measure in report.merits if (plot := _gain_plot(report, place, measure)) is not None]
    tested = _tested(report, place)
    if not plots and tested is None:
        return None
    first, other = report.results[0], report.results[place]
    heading = element("h4", "What ", result_label(first), " gains over ", result_label(other))
    return element("div", heading, tested, element("div", plots, class_="plots"), class_="pair")


def _tested(report: Report, place: int) -> Child:
    """A row for each measure; one that cannot be compared says why."""
    compared = report.findings.compared
    if compared is None:
        return None
    found = {name: metric["pairs"][place - 1] for name, metric in compared["metrics"].items()}
    rows = [_row(report, name, found[name]) for name in report.measures if name in found]
    notes = [
        element("p", f"{report.title_of(name)}: {why}", class_="quiet")
        for name in report.measures
        if name in found
        for why in dict.fromkeys(
            found[name]["notes"][key] for key in ("difference", "ci95") if key in found[name]["notes"]
        )
    ]
    return [table(HEAD, rows), notes]


def _row(report: Report, name: str, pair: Mapping[str, Any]) -> list[Child]:
    difference = pair["difference"]
    return [
        report.titled(name),
        element("span", signed(name, difference), class_=_kind(name, pair)),
        _interval(name, pair["ci95"]),
        _interval(name, pair["ci95_by_item"]),
        *("–" if pair[key] is None else written_p(pair[key]) for key in ("p_permutation", "p_holm", "p_t")),
        "–" if pair["smallest_effect"] is None else written(name, pair["smallest_effect"]),
    ]


def _kind(name: str, pair: Mapping[str, Any]) -> str | None:
    """The colour of a difference that a test at 5% finds, in a measure that is a merit."""
    if pair["p_holm"] is None or pair["p_holm"] >= 0.05 or better_of(name) == "none" or not pair["difference"]:
        return None
    is_better = (pair["difference"] > 0) == (better_of(name) == "higher")
    return "change gain" if is_better else "change loss"


def _interval(name: str, ends: list[float] | None) -> str:
    return "–" if ends is None else f"{signed(name, ends[0])} to {signed(name, ends[1])}"


def _gain_plot(report: Report, place: int, measure: str) -> Html | None:
    compared = report.findings.compared
    if compared is not None and measure in compared["metrics"] and compared["metrics"][measure]["note"]:
        return None  # It was computed in several ways, and the table says so.
    first, other = report.findings.values[0], report.findings.values[place]
    if measure not in first.values or measure not in other.values:
        return None
    gains = first.values[measure] - other.at(first.users)[measure]
    gains = gains[~np.isnan(gains)]
    if not len(gains):
        return None
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    note = f"{better:,} users gain, {worse:,} lose, {len(gains) - better - worse:,} neither"
    return gain_plot(report.title_of(measure), note, gains, report.results[0].colour)


DIFFERENCES = Section("paired", "User by user", differences)
