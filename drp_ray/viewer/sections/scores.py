"""What the runs scored, and how they differ from each other."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from drp_ray.viewer.html import Child, Html, element, table
from drp_ray.viewer.measures import title_of, written
from drp_ray.viewer.plots.scores import Dot, gain_plot, score_plot
from drp_ray.viewer.sections.base import Report, Section, run_label, shown_and_folded

CONTROLS = {"other_review": "floor: another user's review", "reference": "ceiling: the real review"}
"""The controls that bound a measure, by their names in `metrics.json`."""


def scores(report: Report) -> Child:
    """Every measure of every run, over its users with a score; failed users besides as empty texts."""
    measures, rows = report.measures, []
    for place, facts in enumerate(report.runs):
        metrics = facts.run.metrics
        failed = int(metrics["failed_users"])
        numbers = [written(name, metrics["metrics"].get(name)) for name in measures]
        ok = int(metrics["users"]) - failed
        rows.append([run_label(report, place), metrics["method"], *numbers, f"{ok:,}", f"{failed:,}"])
        if failed:
            empty = [written(name, metrics["with_failures_as_empty"].get(name)) for name in measures]
            rows.append(["failed ones as empty texts", "", *empty, f"{int(metrics['users']):,}", ""])
        rows += [[label, "", *values, "", ""] for label, values in _controls(metrics, measures)]
    head = ["Run", "Method", *map(title_of, measures), "Users", "Failed"]
    return [table(head, rows, numbers_from=2), _plots(report), _judges(report)]


def _controls(metrics: Mapping[str, Any], measures: list[str]) -> Iterator[tuple[str, list[str]]]:
    for name, label in CONTROLS.items():
        values = metrics.get("controls", {}).get(name)
        if isinstance(values, Mapping):
            yield label, [written(measure, values[measure]) if measure in values else "" for measure in measures]


def _plots(report: Report) -> Html:
    return element("div", [_plot(report, name) for name in report.measures], class_="plots")


def _plot(report: Report, measure: str) -> Html | None:
    dots = []
    for place, facts in enumerate(report.runs):
        value = facts.run.metrics["metrics"].get(measure)
        if value is not None:
            dots.append(Dot(facts.run.name, place, value, written(measure, value), interval_of(report, place, measure)))
    if not dots:
        return None
    controls = report.runs[0].run.metrics.get("controls", {})
    bounds = [
        (label, values[measure])
        for name, label in CONTROLS.items()
        if isinstance(values := controls.get(name), Mapping) and values.get(measure) is not None
    ]
    return score_plot(title_of(measure), dots, bounds)


def interval_of(report: Report, place: int, measure: str) -> tuple[float, float] | None:
    """A run's 95% interval, where the runs were compared."""
    if report.compared is None:
        return None
    runs = report.compared["metrics"].get(measure, {}).get("runs", {})
    found = runs.get(report.runs[place].run.name, {}).get("ci95")
    return None if found is None else (found[0], found[1])


def _judges(report: Report) -> Child:
    rows = [
        [run_label(report, place), name, _number(judge["value"]), f"{judge['n']:,}", f"{judge.get('unreadable', 0):,}"]
        for place, facts in enumerate(report.runs)
        for name, judge in facts.run.metrics.get("judges", {}).items()
    ]
    return table(["Run", "Judge", "Score", "Users", "Unreadable"], rows, numbers_from=2) if rows else None


def _number(value: float | None, digits: int = 4) -> str:
    return "missing" if value is None else f"{value:.{digits}f}"


def differences(report: Report) -> Child:
    """The first run against each other one, user by user: who gains, and by how much."""
    pairs = [pair for place in range(1, len(report.runs)) if (pair := _pair(report, place)) is not None]
    if not pairs and report.compared is None:
        return None
    return [_significance(report), *shown_and_folded(pairs, "other runs")]


def _pair(report: Report, place: int) -> Html | None:
    plots = [plot for measure in report.measures if (plot := _gain_plot(report, place, measure)) is not None]
    if not plots:
        return None
    heading = element("h4", "What ", run_label(report, 0), " gains over ", run_label(report, place))
    return element("div", heading, element("div", plots, class_="plots"))


def _gain_plot(report: Report, place: int, measure: str) -> Html | None:
    first, other = report.runs[0].users, report.runs[place].users
    if measure not in first.measures or measure not in other.measures:
        return None
    values = dict(zip(other.user_ids, other.values(measure).tolist(), strict=True))
    pairs = zip(first.user_ids, first.values(measure).tolist(), strict=True)
    gains = np.array([value - values[user] for user, value in pairs if user in values])
    gains = gains[~np.isnan(gains)]
    if not len(gains):
        return None
    better = int((gains > 0).sum())
    worse = int((gains < 0).sum())
    note = f"{better:,} users gain, {worse:,} lose, {len(gains) - better - worse:,} neither"
    return gain_plot(title_of(measure), note, gains, 0)


def _significance(report: Report) -> Child:
    if report.compared is None:
        return None
    rows = [
        [
            title_of(name),
            f"{pair['a']} − {pair['b']}",
            _number(pair["difference"]),
            _interval(pair["ci95"]),
            *(_number(pair.get(key)) for key in ("p_permutation", "p_t", "p_holm", "smallest_effect")),
        ]
        for name, metric in report.compared["metrics"].items()
        for pair in metric["pairs"]
    ]
    head = ["Score", "Runs", "Difference", "95% interval", "p (permutation)", "p (t)", "p (Holm)", "Smallest effect"]
    said = f"Over the {report.compared['users']['n']:,} users who have a text in every run."
    return [element("p", said), table(head, rows, numbers_from=2)]


def _interval(ends: list[float] | None) -> str:
    return "missing" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


SCORES = Section("scores", "Scores", scores)
DIFFERENCES = Section("paired", "User by user", differences)
