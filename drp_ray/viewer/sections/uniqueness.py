"""What the more and the less unique half of users score and gain, where the jobs embedded their reviews."""

from collections.abc import Mapping
from typing import Any

from drp_ray.viewer.findings import DRAWS, SEED, SideBySide
from drp_ray.viewer.html import Child, Html, element
from drp_ray.viewer.measures import signed, written
from drp_ray.viewer.plots.scores import Dot, score_plot
from drp_ray.viewer.results import Result
from drp_ray.viewer.sections.base import Report, Section, result_label, shown_and_folded

HALVES = {"more_unique": "More unique half", "less_unique": "Less unique half"}


def uniqueness(report: Report) -> Child:
    """Gains by half over each other result that was to write the same; what the halves score where there is none."""
    return [_of(report, each) for each in report.findings.side_by_side if each.uniqueness] or None


def _of(report: Report, beside: SideBySide) -> Child:
    found = beside.uniqueness
    users = found["users"]
    said = (
        f"A user is the more unique, the farther the mean embedding of the user's reviews is from that of all. "
        f"{users['with_embeddings']:,} users have embeddings (of {found['embeddings_of']}), "
        f"{users['without_embeddings']:,} have none and are in no half. Means of the users' own values; 95% intervals "
        f"from {DRAWS:,} draws of users (seed {SEED})."
    )
    first, *others = (report.results[place] for place in beside.places)
    pairs = [_pair(report, first, other, pair) for other, pair in zip(others, found["pairs"], strict=True)]
    plots: Child = shown_and_folded(pairs, "other results") if pairs else _halves(report, first, found)
    return [element("p", said, class_="quiet"), plots]


def _pair(report: Report, first: Result, other: Result, pair: Mapping[str, Any]) -> Html:
    heading = element("h4", "What ", result_label(first), " gains over ", result_label(other))
    plots = [
        _gains(report, first, measure, pair["measures"][measure])
        for measure in report.merits
        if measure in pair["measures"]
    ]
    return element("div", heading, element("div", plots, class_="plots"), class_="pair")


def _gains(report: Report, first: Result, measure: str, gains: Mapping[str, Any]) -> Html | None:
    dots = [_dot(first, measure, half, gains[half], "gain", signed) for half in HALVES]
    there = [dot for dot in dots if dot is not None]
    contrast = gains["contrast"]
    note = f"halves differ by {signed(measure, contrast['difference'])}{_interval(measure, contrast['ci95'])}"
    return score_plot(report.title_of(measure), there, [("no gain", 0.0)], note) if there else None


def _halves(report: Report, result: Result, found: Mapping[str, Any]) -> Html:
    measures = found["runs"][result.name]
    plots = []
    for measure in report.merits:
        dots = [
            _dot(result, measure, half, measures[measure][half], "mean", written)
            for half in HALVES
            if measure in measures
        ]
        there = [dot for dot in dots if dot is not None]
        plots.append(score_plot(report.title_of(measure), there, []) if there else None)
    return element("div", plots, class_="plots")


def _dot(result: Result, measure: str, half: str, numbers: Mapping[str, Any], name: str, write: Any) -> Dot | None:
    value, ends = numbers[name], numbers["ci95"]
    if value is None:
        return None
    interval = None if ends is None else (ends[0], ends[1])
    label = f"{write(measure, value)}, {numbers['n']:,} users"
    return Dot(HALVES[half], result.colour, value, label, interval)


def _interval(measure: str, ends: list[float] | None) -> str:
    return "" if ends is None else f" ({signed(measure, ends[0])} to {signed(measure, ends[1])})"


UNIQUENESS = Section("uniqueness", "Unique users", uniqueness)
