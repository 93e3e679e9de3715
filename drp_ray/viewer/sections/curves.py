"""Measures over a setting that differs between the runs: N, K, temperature."""

from collections.abc import Mapping
from typing import Any

from drp_ray.viewer.html import Child, Html, element
from drp_ray.viewer.measures import title_of
from drp_ray.viewer.plots.scores import Curve, curve_plot
from drp_ray.viewer.sections.base import Report, Section
from drp_ray.viewer.sections.settings import differing_settings

CURVES = {"retrieval.n": "N", "selection.k": "K", "sampling.temperature": "temperature"}
"""The settings that results are drawn over, and how the papers call them."""


def curves(report: Report) -> Child:
    """A plot for every setting with several values, and every measure."""
    found = [
        plot
        for setting, name in CURVES.items()
        for measure in report.measures
        if (plot := _plot(report, setting, name, measure)) is not None
    ]
    return element("div", found, class_="plots") if found else None


def _plot(report: Report, setting: str, axis: str, measure: str) -> Html | None:
    settings = differing_settings([facts.run for facts in report.runs])
    if setting not in settings:
        return None
    groups: dict[str, dict[float, tuple[float, str]]] = {}
    for place, facts in enumerate(report.runs):
        value = facts.run.metrics["metrics"].get(measure)
        if value is not None:
            points = groups.setdefault(_others(settings, setting, place), {})
            points.setdefault(float(settings[setting][place]), (value, facts.run.name))
    lines = [
        Curve(name, place, tuple((x, *points[x]) for x in sorted(points)))
        for place, (name, points) in enumerate(groups.items())
        if len(points) > 1
    ]
    return curve_plot(title_of(measure), axis, lines) if lines else None


def _others(settings: Mapping[str, list[Any]], setting: str, place: int) -> str:
    """What a run has besides: runs on one line differ in nothing else."""
    return ", ".join(f"{name}={values[place]}" for name, values in settings.items() if name != setting)


CURVES_SECTION = Section("curves", "Scores by setting", curves)
