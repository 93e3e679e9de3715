"""What all plots share: scales, axes, marks that say what they stand for, and figures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drp_ray.viewer.html import Child, Html, element, join

NARROW = 340
"""The width of a plot in units, which are pixels where there is room."""
WIDE = 1100
TICKS = 4
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """From values to places: `low` is at `start`, `high` at `end`, linearly or by the logarithm."""

    low: float
    high: float
    start: float
    end: float
    is_logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, with two decimals, so that equal plots are equal bytes."""
        low, high, value = (self._seen(each) for each in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def _seen(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.is_logarithmic else value

    def ticks(self) -> list[float]:
        """A few round values inside."""
        if self.is_logarithmic:
            first, last = math.ceil(math.log10(max(self.low, 1e-12))), math.floor(math.log10(max(self.high, 1e-12)))
            powers = [10.0**power for power in range(first, last + 1)]
            return powers if len(powers) > 2 else [tick for tick in self._finer(first, last) if tick >= self.low]
        step = round_step(self.high - self.low)
        count = math.floor((self.high - self.low) / step + 1e-9)
        first_tick = math.ceil(self.low / step - 1e-9) * step
        found = [round(first_tick + place * step, 10) for place in range(count + 1)]
        return [tick for tick in found if tick <= self.high + 1e-12]

    def _finer(self, first: int, last: int) -> list[float]:
        """1, 2 and 5 of every power of ten, for a span of few powers."""
        ticks = [digit * 10.0**power for power in range(first - 1, last + 1) for digit in (1, 2, 5)]
        return [tick for tick in ticks if tick <= self.high]


def round_step(span: float) -> float:
    """The distance of ticks: a round number."""
    if span <= 0:
        return 1.0
    rough = span / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in STEPS if step * power >= rough - 1e-12)


def around(values: Sequence[float], share: float = 0.08, least: float = 1e-9) -> tuple[float, float]:
    """Bounds with some room around values."""
    low, high = min(values), max(values)
    room = max((high - low) * share, abs(high) * 0.01, least)
    return low - room, high + room


def mark(tag: str, tip: str, **attributes: str | float | int | None) -> Html:
    """A mark that says what it stands for, to the pointer, to the keyboard's focus and to screen readers."""
    return element(tag, data_tip=tip, role="img", aria_label=tip.replace("\n", ", "), tabindex=0, **attributes)


def short(value: float) -> str:
    """A number as an axis has it."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}" if value % size == 0 else f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def bottom_axis(scale: Scale, y: float, name: str = "", label: Callable[[float], str] = short) -> Html:
    """A line with ticks and their values, and what they are values of."""
    parts: list[Child] = [element("line", x1=scale.start, x2=scale.end, y1=y, y2=y, class_="axis")]
    for tick in scale.ticks():
        parts.append(element("line", x1=scale(tick), x2=scale(tick), y1=y, y2=y + 4, class_="axis"))
        parts.append(element("text", label(tick), x=scale(tick), y=y + 15, text_anchor="middle"))
    parts.append(element("text", name, x=scale.end, y=y + 28, text_anchor="end") if name else None)
    return join(parts)


def left_axis(scale: Scale, x: float, until: float, name: str = "", whole: bool = False) -> Html:
    """Faint lines across, with their values at the left (only whole ones), and what they are values of above."""
    parts: list[Child] = []
    for tick in scale.ticks():
        if whole and tick != int(tick):
            continue
        parts.append(element("line", x1=x, x2=until, y1=scale(tick), y2=scale(tick), class_="axis"))
        parts.append(element("text", short(tick), x=x - 5, y=scale(tick) + 4, text_anchor="end"))
    parts.append(element("text", name, x=0, y=scale.end - 8) if name else None)
    return join(parts)


def drawing(width: float, height: float, label: str, *parts: Child) -> Html:
    """An SVG that is as wide as there is room."""
    return element("svg", parts, viewBox=f"0 0 {width:g} {height:g}", role="group", aria_label=label)


def figure(title: str, note: str, *drawings: Child) -> Html:
    """A plot with its title and what it shows."""
    return element("figure", element("figcaption", title, " ", element("span", note)), drawings)


def wide_and_narrow(draw: Callable[[float], Html]) -> list[Html]:
    """A plot twice: the page shows the one that fits the screen."""
    return [element("div", draw(width), class_=f"only-{name}") for name, width in (("wide", WIDE), ("narrow", NARROW))]
