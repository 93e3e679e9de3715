"""The first result against each other one, user by user: how sure a difference is, who gains, and how much."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drp_ray.job.compare_tables import written_p
from drp_ray.viewer.findings import SideBySide
from drp_ray.viewer.html import Child, Html, element, table
from drp_ray.viewer.measures import better_of, signed, written
from drp_ray.viewer.plots.scores import gain_plot
from drp_ray.viewer.results import Result
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
    """Nothing for one result alone; the reason where results cannot be compared.

    Results of several datasets are compared within each: the first one of the dataset against each other one of it.
    """
    if len(report.results) == 1:
        return None
    several = [each for each in report.findings.side_by_side if len(each.places) > 1]
    pairs = [_pair(report, each, place) for each in several for place in each.places[1:]]
    return [
        *(_said(report, each) for each in several),
        _alone(report),
        *shown_and_folded([pair for pair in pairs if pair is not None], "other results"),
    ]


def _said(report: Report, beside: SideBySide) -> Child:
    is_all = len(beside.places) == len(report.results)
    names = None if is_all else element("h4", ", ".join(report.results[place].name for place in beside.places))
    compared = beside.compared
    if compared is None:
        return [names, element("p", f"The results were not compared: {beside.refused}", class_="note")]
    users = compared["users"]
    said = (
        f"Over the {users['n']:,} users who have a text in every result, whose targets are {users['n_items']:,} items. "
        f"Intervals from {compared['draws']:,} draws of users, or of items with their users; p from swapping the two "
        f"results of users at random, {compared['draws']:,} times; Holm corrects for {compared['family']}; seed "
        f"{compared['seed']}. drp-ray compare makes more draws."
    )
    results = [report.results[place] for place in beside.places]
    return [names, element("p", said, class_="quiet"), _mixed(results), _left_out(results, compared)]


def _alone(report: Report) -> Child:
    """Results that no other one has the targets of."""
    names = [report.results[each.places[0]].name for each in report.findings.side_by_side if len(each.places) == 1]
    if not names:
        return None
    said = f"Not compared, since no other result was to write the same texts for the same users: {', '.join(names)}."
    return element("p", said, class_="note")


def _mixed(results: Sequence[Result]) -> Child:
    if len({result.protocol for result in results}) == 1:
        return None
    rows = ", ".join(f"{result.name} ({result.protocol or 'no protocol'})" for result in results)
    return element("p", f"These results are of different protocols, and no fair comparison: {rows}.", class_="alert")


def _left_out(results: Sequence[Result], compared: Mapping[str, Any]) -> Child:
    """Users of each result who are in no comparison."""
    users = compared["users"]
    lines = [
        f"{result.name}: {excluded:,} users are not compared, {users['failed'][name]:,} failed here and "
        f"{users['lost'][name]:,} are missing or failed elsewhere."
        for result, name in zip(results, compared["runs"], strict=True)
        if (excluded := users["excluded"][name])
    ]
    return [element("p", line, class_="quiet") for line in lines]


def _pair(report: Report, beside: SideBySide, place: int) -> Html | None:
    """The first of the results side by side against the one of a place."""
    if beside.compared is None:
        return None
    plots = [_gain_plot(report, beside.compared, (beside.places[0], place), measure) for measure in report.merits]
    heading = element(
        "h4",
        "What ",
        result_label(report.results[beside.places[0]]),
        " gains over ",
        result_label(report.results[place]),
    )
    tested = _tested(report, beside.compared, beside.places.index(place) - 1)
    return element("div", heading, tested, element("div", plots, class_="plots"), class_="pair")


def _tested(report: Report, compared: Mapping[str, Any], number: int) -> Child:
    """Of the pair of a number a row for each measure; one that cannot be compared says why."""
    found = {name: metric["pairs"][number] for name, metric in compared["metrics"].items()}
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


def _gain_plot(report: Report, compared: Mapping[str, Any], places: tuple[int, int], measure: str) -> Html | None:
    """The gains of the first of two results over the other one."""
    if measure in compared["metrics"] and compared["metrics"][measure]["note"]:
        return None  # It was computed in several ways, and the table says so.
    first, other = (report.findings.values[place] for place in places)
    if measure not in first.values or measure not in other.values:
        return None
    gains = first.values[measure] - other.at(first.users)[measure]
    gains = gains[~np.isnan(gains)]
    if not len(gains):
        return None
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    note = f"{better:,} users gain, {worse:,} lose, {len(gains) - better - worse:,} neither"
    return gain_plot(report.title_of(measure), note, gains, report.results[places[0]].colour)


DIFFERENCES = Section("paired", "User by user", differences)
