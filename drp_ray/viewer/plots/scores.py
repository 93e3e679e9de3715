"""Scores of runs: a dot a run, with its interval and between floor and ceiling where these are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from drp_ray.viewer.html import Child, Html, element
from drp_ray.viewer.plots.svg import NARROW, Scale, around, bottom_axis, drawing, figure, left_axis, mark, short

ROW = 24
BARS = 25


@dataclass(frozen=True)
class Dot:
    """A run's number: its place among the runs gives the colour; `interval` is its 95% interval, if known.

    `published` is what a paper reports for this run: its name and value.
    """

    run: str
    place: int
    value: float
    label: str
    interval: tuple[float, float] | None = None
    published: tuple[str, float] | None = None


def score_plot(title: str, dots: Sequence[Dot], bounds: Sequence[tuple[str, float]], note: str = "") -> Html:
    """One measure: a row a run, with a dotted line where a paper reports it, and a dashed one for each bound."""
    known = [dot.value for dot in dots] + [end for dot in dots for end in dot.interval or ()]
    known += [dot.published[1] for dot in dots if dot.published]
    scale = Scale(*around([*known, *(value for _, value in bounds)]), 22, NARROW - 22)
    bottom = 14 + 2 * ROW * len(dots) / 1.4
    parts: list[Child] = [_bound(scale, name, value, 6, bottom) for name, value in bounds]
    for row, dot in enumerate(dots):
        parts.append(_dot(scale, dot, 26 + row * 2 * ROW / 1.4))
    note = note or ("with 95% intervals" if any(dot.interval for dot in dots) else "")
    return figure(title, note, drawing(NARROW, bottom + 20, title, parts, bottom_axis(scale, bottom)))


def _bound(scale: Scale, name: str, value: float, top: float, bottom: float, kind: str = "bound") -> Html:
    line = mark("line", f"{name}: {value:.4g}", x1=scale(value), x2=scale(value), y1=top, y2=bottom, class_=kind)
    return element("g", line)


def _dot(scale: Scale, dot: Dot, y: float) -> Html:
    low, high = dot.interval or (dot.value, dot.value)
    tip = f"{dot.run}\n{dot.label}" + (f"\n95% interval {low:.4g} to {high:.4g}" if dot.interval else "")
    name = element("text", dot.run, x=0, y=y - 9, class_="name")
    line = element("line", x1=scale(low), x2=scale(high), y1=y, y2=y, class_="interval")
    circle = mark("circle", tip, cx=scale(dot.value), cy=y, r=5, class_="mark")
    published = _bound(scale, *dot.published, y - ROW / 2, y + ROW / 2, "bound published") if dot.published else None
    return element("g", name, published, line if dot.interval else None, circle, class_=f"run{dot.place % 8}")


def gain_plot(title: str, note: str, gains: np.ndarray, place: int) -> Html:
    """How many users gain or lose how much: a histogram around zero."""
    reach = float(np.abs(gains).max()) or 1.0
    counts, edges = np.histogram(gains, bins=BARS, range=(-reach, reach))
    across, up = Scale(-reach, reach, 30, NARROW - 8), Scale(0, int(counts.max()), 130, 16)
    bars = [
        mark(
            "rect",
            f"{int(count):,} users\n{low:+.4f} to {high:+.4f}",
            x=across(low),
            y=up(count),
            width=round(across(high) - across(low) - 1, 2),
            height=round(130 - up(count), 2),
            class_="mark",
        )
        for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        if count
    ]
    zero = element("line", x1=across(0), x2=across(0), y1=10, y2=130, class_="bound")
    axes = [
        left_axis(up, 30, NARROW - 8, whole=True),
        bottom_axis(across, 130, label=lambda value: f"{value:+.3g}" if value else "0"),
    ]
    return figure(title, note, drawing(NARROW, 152, title, axes, element("g", bars, class_=f"run{place % 8}"), zero))


class Point(NamedTuple):
    """Of a curve: where it lies, its value, what it is called, and its 95% interval, if known."""

    x: float
    y: float
    name: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Curve:
    """The points of one line, by x; `place` gives the colour."""

    name: str
    place: int
    points: tuple[Point, ...]


def curve_plot(title: str, axis: str, curves: Sequence[Curve]) -> Html:
    """A measure over a setting."""
    points = [point for curve in curves for point in curve.points]
    ys = [y for point in points for y in (point.y, *(point.interval or ()))]
    across, up = Scale(*around([point.x for point in points], 0.04), 44, NARROW - 10), Scale(*around(ys, 0.15), 140, 16)
    lines = [
        element(
            "g",
            [_whisker(point, across, up) for point in curve.points],
            element(
                "polyline",
                points=" ".join(f"{across(point.x)},{up(point.y)}" for point in curve.points),
                class_="trace",
            ),
            [_point(point, axis, across, up) for point in curve.points],
            class_=f"run{curve.place % 8}",
        )
        for curve in curves
    ]
    axes = [left_axis(up, 44, NARROW - 10), bottom_axis(across, 140, axis)]
    return figure(title, f"by {axis}", drawing(NARROW, 172, f"{title} by {axis}", axes, lines))


def _whisker(point: Point, across: Scale, up: Scale) -> Html | None:
    if point.interval is None:
        return None
    low, high = point.interval
    return element("line", x1=across(point.x), x2=across(point.x), y1=up(low), y2=up(high), class_="interval")


def _point(point: Point, axis: str, across: Scale, up: Scale) -> Html:
    tip = f"{point.name}\n{axis} {short(point.x)}: {point.y:.4g}"
    if point.interval is not None:
        tip += f"\n95% interval {point.interval[0]:.4g} to {point.interval[1]:.4g}"
    return mark("circle", tip, cx=across(point.x), cy=up(point.y), r=4.5, class_="mark")
