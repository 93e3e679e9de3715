"""What real texts score, between which predictions stand; and whether a text can be told to be its user's."""

from collections.abc import Sequence
from typing import Any

from drp_ray.evaluation.controls import CEILING, FLOOR, SWAPPED
from drp_ray.evaluation.judge import measure_name
from drp_ray.evaluation.metrics.base import METRICS, ProfileMetric
from drp_ray.viewer.html import Child, Html, element, table
from drp_ray.viewer.measures import AUTHORSHIP, written
from drp_ray.viewer.results import Result, mean_of
from drp_ray.viewer.sections.base import Report, Section, result_label, shown_and_folded, with_line_below

COLUMNS = {
    FLOOR: ("Floor", "another user's review"),
    SWAPPED: ("Swapped", "prediction for another user"),
    "own_review": ("Own", "another review by the user"),
    CEILING: ("Ceiling", "the real review"),
}
"""The controls by their names in `metrics.json`; the prediction itself stands after the floor and the swap."""

COPIED = tuple(name for name, cls in METRICS.items() if issubclass(cls, ProfileMetric))


def controls(report: Report) -> Child:
    """A table for every result that has controls, and author identification beside chance and copying."""
    having = [result for result in report.results if _has_controls(report, result)]
    if not having:
        return None
    said = (
        "Every control is over the result's users with a text who have that control; “Users” have the floor. “Way” is "
        "how much of the way from floor to ceiling the prediction is, over the same users. "
    )
    tables = [
        element(
            "div",
            element("h4", result_label(result)) if len(having) > 1 else None,
            _table(report, result),
            class_="pair",
        )
        for result in having
    ]
    unasked = _unasked_judges(report, having)
    return [
        element("p", said, f"Not asked about controls: {', '.join(unasked)}." if unasked else None, class_="quiet"),
        *shown_and_folded(tables, "other results"),
        _authorship(report, having),
    ]


def _has_controls(report: Report, result: Result) -> bool:
    return all("controls" in report.runs[place].run.metrics for place in result.places)


def _unasked_judges(report: Report, having: Sequence[Result]) -> list[str]:
    """The titles of judges who judged predictions and no control."""
    runs = [report.runs[place].run.metrics for result in having for place in result.places]
    names = {measure_name(judge) for metrics in runs for judge in metrics["judges"]}
    asked = {name for metrics in runs for name in metrics["controls"][FLOOR]["metrics"]}
    return [report.title_of(name) for name in sorted(names - asked)]


def _of(report: Report, result: Result, control: str, kind: str, measure: str) -> Any:
    """A control's number, or the prediction's over the same users; the mean over the executions."""
    return mean_of([report.runs[place].run.metrics["controls"][control][kind].get(measure) for place in result.places])


def _table(report: Report, result: Result) -> Html:
    """A measure that the executions do not compute alike has no row: there is nothing to average."""
    alike = [name for name in report.measures if name in result.numbers and result.numbers[name].is_alike]
    rows = [_row(report, result, measure) for measure in alike]
    floor, swapped, own, ceiling = (with_line_below(*titles) for titles in COLUMNS.values())
    head = ["Score", floor, swapped, "Prediction", own, ceiling, "Way", "Users"]
    return table(head, rows)


def _row(report: Report, result: Result, measure: str) -> list[Child]:
    values = {name: _of(report, result, name, "metrics", measure) for name in COLUMNS}
    floor, swapped, own, ceiling = (_written(measure, values[name]) for name in COLUMNS)
    predicted = result.numbers[measure].value
    beside = _of(report, result, FLOOR, "prediction", measure)
    users = {report.runs[place].run.metrics["controls"][FLOOR]["n"].get(measure) for place in result.places} - {None}
    return [
        report.titled(measure),
        floor,
        swapped,
        written(measure, predicted),
        own,
        ceiling,
        _way(values[FLOOR], beside, values[CEILING]) if measure in report.merits else "",
        " / ".join(f"{n:,}" for n in sorted(users)),
    ]


def _written(measure: str, value: float | None) -> str:
    return "" if value is None else written(measure, value)


def _way(floor: float | None, value: float | None, ceiling: float | None) -> str:
    """How much of the way from floor to ceiling a number is."""
    if floor is None or value is None or ceiling is None or floor == ceiling:
        return ""
    return f"{(value - floor) / (ceiling - floor):.0%}"


def _authorship(report: Report, having: Sequence[Result]) -> Child:
    """How often the author of a text is told, beside chance, and how much of the text is copied from the profile."""
    chance = report.runs[having[0].places[0]].run.metrics["author_identification"]["chance"]
    copied = [name for name in COPIED if name in report.measures]
    rows = [[result_label(result), _share(chance), *_attributed(report, result, copied)] for result in having]
    texts = ("prediction", "swapped prediction", "real review")
    of_ways = [with_line_below(report.title_of(way), text) for way in AUTHORSHIP for text in texts]
    said = (
        "How often a text is attributed to its user, among five reviewers of the item. A copy of the profile is told "
        "easily, so how much was copied stands beside."
    )
    return element(
        "div",
        element("h4", "Whose text is it?"),
        element("p", said, class_="quiet"),
        table(["Result", "Chance", *of_ways, *map(report.title_of, copied)], rows),
        class_="pair",
    )


def _attributed(report: Report, result: Result, copied: Sequence[str]) -> list[str]:
    """By each way the shares of predictions, of those that were swapped, and of real reviews; then what was copied."""
    shares = [
        _share(value)
        for way in AUTHORSHIP
        for value in (
            result.numbers[way].value,
            *(_of(report, result, control, "metrics", way) for control in (SWAPPED, CEILING)),
        )
    ]
    return shares + [_written(name, result.numbers[name].value) if name in result.numbers else "" for name in copied]


def _share(value: float | None) -> str:
    return "missing" if value is None else f"{value:.1%}"


CONTROLS_SECTION = Section("controls", "Controls", controls)
