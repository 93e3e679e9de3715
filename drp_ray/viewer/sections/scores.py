"""What the results scored: between floor and ceiling, with intervals, and beside what papers report."""

from collections.abc import Mapping, Sequence
from typing import Any

from drp_ray.evaluation.judge import measure_name
from drp_ray.evaluation.statistics.paired import FEWEST_FOR_INTERVAL
from drp_ray.viewer.findings import DRAWS, SEED
from drp_ray.viewer.html import Child, Html, element, table
from drp_ray.viewer.measures import written
from drp_ray.viewer.plots.scores import Dot, score_plot
from drp_ray.viewer.results import OwnNumber, Result
from drp_ray.viewer.sections.base import Report, Section, result_label, run_label, with_line_below

FLOOR, CEILING = ("Floor", "another user's review"), ("Ceiling", "the real review")
LINES = (
    "Lines in the plots: floor and ceiling are dashed, and what a paper reports is dotted, in the row of its result."
)
NO_NUMBER = OwnNumber((None,), (0,))
HOW = (
    f"Each number is over the result's own users with a text. Small numbers: its 95% interval, from {DRAWS:,} draws of "
    f"users (seed {SEED}); none for fewer than {FEWEST_FOR_INTERVAL} users. “With failures” "
    "counts each failed user as an empty text."
)
UNLIKE = (
    "the executions of these results compute it in several ways, so they have no mean and stand one by one (a judge's "
    "temperature follows that of all roles, unless sampling.judge.temperature is given)"
)
SEVERAL = " Intervals of two results may overlap although the results differ: see User by user."
AVERAGED = " After ± stands the standard deviation over the executions that a result is the mean of."


def scores(report: Report) -> Child:
    """Every measure of every result, then plots, executions, and judges."""
    is_averaged = any(len(result.places) > 1 for result in report.results)
    return [
        element("p", HOW, _said(report), AVERAGED if is_averaged else None, class_="quiet"),
        _numbers(report),
        _unlike(report),
        element("p", LINES, class_="quiet") if _has_bounds(report) or _published(report.results) else None,
        element("div", [_plot(report, name) for name in report.merits], class_="plots"),
        _executions(report) if is_averaged else None,
        _judges(report),
    ]


def _unlike(report: Report) -> list[Html]:
    """Which results have no number in common of a measure, and why."""
    return [
        element("p", f"{report.title_of(name)}: {UNLIKE}: {', '.join(names)}.", class_="note")
        for name in report.measures
        if (names := [each.name for each in report.results if not each.numbers.get(name, NO_NUMBER).is_alike])
    ]


def _has_bounds(report: Report) -> bool:
    return any(number.floor is not None for number in report.results[0].numbers.values())


def _said(report: Report) -> str | None:
    """What is to be said where there are several results."""
    if len(report.results) == 1:
        return None
    if not _has_bounds(report):
        return SEVERAL
    first = report.results[0].name
    return f"{SEVERAL} Floor and ceiling are over the users of {first}; those of each result are under Controls."


def _numbers(report: Report) -> Html:
    has_bounds = _has_bounds(report)
    published = _published(report.results)
    head = [
        "Score",
        *map(result_label, report.results),
        *([with_line_below(*FLOOR)] if has_bounds else []),
        *([with_line_below(*CEILING)] if has_bounds else []),
        *(_published_title(name, row) for name, row in zip(published_names(published), published, strict=True)),
    ]
    rows: list[list[Child]] = [_row(report, name, has_bounds, published) for name in report.measures]
    judges = dict.fromkeys(name for row in published for name in row["judges"])
    blank: list[Child] = ["", ""] if has_bounds else []
    for name in judges:
        own = ["" for _ in report.results]
        rows.append([name, *own, *blank, *(_of_published(name, row["judges"]) for row in published)])
    rows += [[what, *counts, *blank, *("" for _ in published)] for what, counts in _users(report) if any(counts)]
    return table(head, rows)


def _row(report: Report, name: str, has_bounds: bool, published: Sequence[Mapping[str, Any]]) -> list[Child]:
    first = report.results[0].numbers.get(name, NO_NUMBER)
    return [
        report.titled(name),
        *(_number(report, place, name) for place in range(len(report.results))),
        *([_bound(name, first.floor)] if has_bounds else []),
        *([_bound(name, first.ceiling)] if has_bounds else []),
        *(_of_published(name, row["metrics"]) for row in published),
    ]


def _bound(name: str, value: float | None) -> str:
    return "" if value is None else written(name, value)


def _of_published(name: str, values: Mapping[str, float]) -> str:
    return written(name, values[name]) if name in values else ""


def _number(report: Report, place: int, name: str) -> Child:
    """The number with its spread over executions, its interval, and what it is with failures as empty texts."""
    number = report.results[place].numbers.get(name, NO_NUMBER)
    interval = report.findings.intervals[place].get(name)
    spread = None if number.spread is None else f" ± {written(name, number.spread)}"
    below = [
        None
        if interval is None or number.value is None
        else f"{written(name, interval[0])} to {written(name, interval[1])}",
        f"{written(name, number.as_empty)} with failures"
        if number.as_empty is not None and any(_failed(report, report.results[place]))
        else None,
    ]
    return [written(name, number.value), spread, [element("span", line, class_="below") for line in below if line]]


def _failed(report: Report, result: Result) -> list[int]:
    return [int(report.runs[place].run.metrics["failed_users"]) for place in result.places]


def _users(report: Report) -> list[tuple[str, list[str]]]:
    """Users with a text and failed users, of each execution where these differ."""
    failed = [_failed(report, result) for result in report.results]
    users = [[int(report.runs[place].run.metrics["users"]) for place in result.places] for result in report.results]
    ok = [[n - lost for n, lost in zip(*both, strict=True)] for both in zip(users, failed, strict=True)]
    return [
        ("Users with a text", [_counts(each) for each in ok]),
        ("Failed users", [_counts(each) if any(each) else "" for each in failed]),
    ]


def _counts(numbers: Sequence[int]) -> str:
    return " / ".join(f"{number:,}" for number in dict.fromkeys(numbers))


def _published(results: Sequence[Result]) -> list[Mapping[str, Any]]:
    """The published rows, each once."""
    found: list[Mapping[str, Any]] = []
    for result in results:
        if result.published is not None and result.published not in found:
            found.append(result.published)
    return found


def published_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The method of each published row, with what tells it from the others: dataset, split, protocol, models."""
    fields = [field for field in ("dataset", "split", "protocol") if len({row[field] for row in rows}) > 1]
    roles = [
        role
        for role in dict.fromkeys(role for row in rows for role in row["models"])
        if len({row["models"][role] for row in rows if role in row["models"]}) > 1
    ]
    return [", ".join([row["method"], *(row[field] for field in fields), *_models(row, roles)]) for row in rows]


def _models(row: Mapping[str, Any], roles: Sequence[str]) -> list[str]:
    """Each model of a row that plays one of the roles, by the last part of its id, behind these roles."""
    played: dict[str, list[str]] = {}
    for role in roles:
        if role in row["models"]:
            played.setdefault(row["models"][role].rpartition("/")[2], []).append(role)
    return [f"{' and '.join(of_model)} {model}" for model, of_model in played.items()]


def _published_title(name: str, row: Mapping[str, Any]) -> Html:
    return element("span", with_line_below(f"Published: {name}", row["paper"]), title=row["source"])


def _plot(report: Report, measure: str) -> Html | None:
    published = _published(report.results)
    names = published_names(published)
    dots = []
    for place, result in enumerate(report.results):
        number = result.numbers.get(measure, NO_NUMBER)
        if number.value is not None:
            interval = report.findings.intervals[place].get(measure)
            reported = None
            if result.published is not None and measure in result.published["metrics"]:
                name = f"published, {names[published.index(result.published)]}"
                reported = (name, float(result.published["metrics"][measure]))
            label = written(measure, number.value)
            dots.append(Dot(result.name, result.colour, number.value, label, interval, reported))
    if not dots:
        return None
    first = report.results[0].numbers.get(measure, NO_NUMBER)
    known = [(": ".join(FLOOR), first.floor), (": ".join(CEILING), first.ceiling)]
    return score_plot(report.title_of(measure), dots, [(name, value) for name, value in known if value is not None])


def _executions(report: Report) -> Html:
    """What each execution scored, over its own users."""
    rows = [
        [run_label(report, place), *(_of_execution(report, result, name, place) for name in report.measures)]
        for result in report.results
        if len(result.places) > 1
        for place in result.places
    ]
    head = ["Execution", *map(report.title_of, report.measures)]
    return element("details", element("summary", f"The {len(rows)} executions one by one"), table(head, rows))


def _of_execution(report: Report, result: Result, name: str, place: int) -> Child:
    number = result.numbers.get(name)
    value = None if number is None else number.executions[result.places.index(place)]
    interval = report.findings.of_executions[place].get(name)
    below = None if interval is None else f"{written(name, interval[0])} to {written(name, interval[1])}"
    return [written(name, value), element("span", below, class_="below") if below else None]


def _judges(report: Report) -> Child:
    """What was asked of judges, and what could not be read."""
    rows = [
        [
            run_label(report, place),
            report.title_of(measure_name(name)),
            *(f"{judge[key]:,}" for key in ("n", "asked", "unreadable", "errors")),
            "–" if judge["sd_over_samples"] is None else f"{judge['sd_over_samples']:.4f}",
        ]
        for place, facts in enumerate(report.runs)
        for name, judge in facts.run.metrics["judges"].items()
    ]
    head = ["Run", "Judge", "Users", "Asked", "Unreadable", "Errors", "sd over samples"]
    return table(head, rows, numbers_from=2) if rows else None


SCORES = Section("scores", "Scores", scores)
