"""Measures over a setting that differs between results or executions: N, K, temperature."""

from collections.abc import Iterator, Mapping
from typing import Any

from drp_ray.viewer.findings import DRAWS, SEED
from drp_ray.viewer.html import Child, Html, element
from drp_ray.viewer.plots.scores import Curve, Point, curve_plot
from drp_ray.viewer.sections.base import Report, Section
from drp_ray.viewer.sections.settings import differing_settings

TEMPERATURE = "sampling.temperature"


def curves(report: Report) -> Child:
    """A plot for every setting with several values, and every measure."""
    of_results = list(_of_results(report))
    temperatures = [plot for name in report.merits if (plot := _by_temperature(report, name)) is not None]
    if not of_results and not temperatures:
        return None
    said = (
        "Curves over N and K: means of the users' own values (of a corpus metric: of each text by itself), over the "
        f"users who have a text at every point; 95% intervals from {DRAWS:,} draws of users (seed {SEED})."
    )
    return [
        element("p", said, class_="quiet") if of_results else None,
        element("div", of_results, temperatures, class_="plots"),
    ]


def _of_results(report: Report) -> Iterator[Html]:
    found = report.findings.curves
    for axis in dict.fromkeys(curve["setting"] for curve in found):
        for measure in report.merits:
            lines = [line for curve in found if curve["setting"] == axis and (line := _line(report, curve, measure))]
            if lines:
                yield curve_plot(report.title_of(measure), axis, lines)


def _line(report: Report, curve: Mapping[str, Any], measure: str) -> Curve | None:
    """A curve of `job.analyse` of one measure; None where a point has none."""
    points = []
    for name, point in zip(curve["runs"], curve["points"], strict=True):
        numbers = point["measures"].get(measure)
        if numbers is None or numbers["mean"] is None:
            return None
        ends = numbers["ci95"]
        points.append(Point(point["value"], numbers["mean"], name, None if ends is None else (ends[0], ends[1])))
    colour = next(result.colour for result in report.results if result.name == curve["runs"][0])
    return Curve(curve["method"], colour, tuple(points))


def _by_temperature(report: Report, measure: str) -> Html | None:
    """What every execution scored over its own users: temperatures are what results are averaged over.

    Executions that compute a measure differently, as a judge whose temperature follows, are on no line.
    """
    settings = differing_settings([facts.run for facts in report.runs])
    if TEMPERATURE not in settings:
        return None
    lines: dict[str, dict[float, Point]] = {}
    colours: dict[str, int] = {}
    signatures: dict[str, set[str | None]] = {}
    for result in report.results:
        for place in result.places:
            number = result.numbers.get(measure)
            value = None if number is None else number.executions[result.places.index(place)]
            if value is not None:
                run, x = report.runs[place].run, float(settings[TEMPERATURE][place])
                point = Point(x, value, run.name, report.findings.of_executions[place].get(measure))
                lines.setdefault(_others(settings, place), {}).setdefault(x, point)
                colours.setdefault(_others(settings, place), result.colour)
                signatures.setdefault(_others(settings, place), set()).add(run.signatures.get(measure))
    drawn = [
        Curve(name, colours[name], tuple(points[x] for x in sorted(points)))
        for name, points in lines.items()
        if len(points) > 1 and len(signatures[name]) == 1
    ]
    return curve_plot(report.title_of(measure), "temperature", drawn) if drawn else None


def _others(settings: Mapping[str, list[Any]], place: int) -> str:
    """What a run has besides: runs on one line differ in nothing else."""
    return ", ".join(f"{name}={values[place]}" for name, values in settings.items() if name != TEMPERATURE)


CURVES_SECTION = Section("curves", "Scores by setting", curves)
