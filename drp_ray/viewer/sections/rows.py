"""What became of the rows: coverage, errors by reason, leaks, lengths and costs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from drp_ray.job.coverage import coverage_lines
from drp_ray.viewer.html import Child, element, table
from drp_ray.viewer.measures import written
from drp_ray.viewer.plots.cost import speed_plot, time_plot, token_plot
from drp_ray.viewer.plots.lengths import length_plot
from drp_ray.viewer.sections.base import Report, Section, run_label, shown_and_folded
from drp_ray.viewer.timeline import FEWEST_PARTS

LEAKS = {
    "refuse": "checked: no profile holds its target or a later review, or the job would have been refused",
    "drop": "profiles were read without the target and later reviews",
    "keep": "not removed: profiles may hold the target or later reviews",
}
LEAK_COUNT = "representatives_later_than_the_target"


def lengths(report: Report) -> Child:
    """A map for every run that wrote something."""
    plots = []
    for place, facts in enumerate(report.runs):
        rows = facts.users.rows
        predicted = rows["prediction_chars"].to_numpy().astype(np.float64)
        there = ~np.isnan(predicted)
        if there.any():
            real = rows["reference_chars"].to_numpy().astype(np.float64)
            plots.append(length_plot(facts.run.name, place, predicted[there], real[there]))
    return element("div", plots, class_="plots") if plots else None


def by_method(report: Report) -> Child:
    """Scores by the method that really ran, where that is not one alone."""
    rows = [
        [
            run_label(report, place),
            method,
            *(written(name, numbers["metrics"].get(name)) for name in report.measures),
            f"{numbers['n']:,}",
        ]
        for place, facts in enumerate(report.runs)
        if set(facts.run.metrics["by_method"]) - {facts.run.metrics["method"]}
        for method, numbers in facts.run.metrics["by_method"].items()
    ]
    return (
        table(["Run", "Method that ran", *map(report.title_of, report.measures), "Users"], rows, numbers_from=2)
        if rows
        else None
    )


def coverage(report: Report) -> Child:
    """What stands behind the numbers, a column a run."""
    columns = [dict(coverage_lines(facts.run.metrics["coverage"])) for facts in report.runs]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[name, *(column.get(name, "–") for column in columns)] for name in names]
    return table(["", *(run_label(report, place) for place in range(len(columns)))], rows, numbers_from=99)


def errors(report: Report) -> Child:
    """Failed rows by stage and reason; that there are none is said."""
    reasons = list(dict.fromkeys(key for facts in report.runs for key in facts.errors))
    if not reasons:
        return element("p", "No row failed.")
    rows = [
        [stage, why or "no reason was kept", *(f"{facts.errors.get((stage, why), 0):,}" for facts in report.runs)]
        for stage, why in reasons
    ]
    labels = [run_label(report, place) for place in range(len(report.runs))]
    return table(["Stage", "Reason", *labels], rows, numbers_from=2)


def leaks(report: Report) -> Child:
    """What was done about reviews that a user may not be predicted from."""
    rows = []
    for place, facts in enumerate(report.runs):
        config, found = facts.run.settings, facts.run.metrics["coverage"].get(LEAK_COUNT, 0)
        rows.append(
            [run_label(report, place), LEAKS[config["users"]["leaks"]], config["selection"]["as_of"], f"{found:,}"]
        )
    head = ["Run", "The user's own reviews", "selection.as_of", "Representatives who wrote after the target"]
    return table(head, rows, numbers_from=3)


def cost(report: Report) -> Child:
    """Tokens, time and speed of the stages. A stage that runs share is counted in each of them."""
    runs = list(enumerate(report.runs))
    tokens = [token_plot(f.run.name, f.costs) for _, f in runs if any(each.asks for each in f.costs)]
    times = [time_plot(f.run.name, f.costs) for _, f in runs if f.costs]
    speeds = [
        speed_plot(facts.run.name, each, place)
        for place, facts in runs
        for each in facts.costs
        if each.asks and len(each.tokens_per_second) >= FEWEST_PARTS
    ]
    keys = element(
        "p", [element("span", element("span", what), class_=f"swatch {kind}") for kind, what in _KEYS], class_="keys"
    )
    return [
        element("p", "Stages that runs share were made once, and stand in each of them.") if len(runs) > 1 else None,
        [keys, element("div", tokens, class_="plots")] if tokens else None,
        element("div", times, class_="plots"),
        element("div", shown_and_folded(speeds, "more stages"), class_="stack"),
    ]


_KEYS = (("strong", "read"), ("weak", "read from the cache"), ("middle", "written"))


def signatures(report: Report) -> Child:
    """What every number was computed with."""
    found: dict[str, dict[str, Any]] = {}
    for facts in report.runs:
        signed: Mapping[str, str] = facts.run.metrics["signatures"]
        for name, signature in signed.items():
            found.setdefault(name, {})[signature] = None
    rows = [[report.title_of(name), element("code", " / ".join(signed))] for name, signed in found.items()]
    return table(["Score", "Signature"], rows, numbers_from=99, class_="settings")


LENGTHS = Section("lengths", "Length of the texts", lengths)
BY_METHOD = Section("methods", "By the method that ran", by_method)
COVERAGE = Section("coverage", "Coverage", coverage)
ERRORS = Section("errors", "Errors", errors)
LEAKS_SECTION = Section("leaks", "Leakage audit", leaks)
COST = Section("cost", "Tokens and time", cost)
SIGNATURES = Section("signatures", "Signatures of the scores", signatures)
