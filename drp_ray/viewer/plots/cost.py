"""What stages cost: tokens and time as bars, and the speed of model stages over time."""

from collections.abc import Callable, Sequence

from drp_ray.viewer.facts import StageCost
from drp_ray.viewer.html import Child, Html, element
from drp_ray.viewer.plots.svg import (
    NARROW,
    WIDE,
    Scale,
    bottom_axis,
    drawing,
    figure,
    left_axis,
    mark,
    short,
    wide_and_narrow,
)

ROW = 34
SPEEDS_SHOWN = 300
"""Points of a line; more parts are averaged."""


def token_plot(title: str, costs: Sequence[StageCost]) -> Html:
    """Tokens of the stages that ask models: read anew, taken from the cache, written."""
    asking = [cost for cost in costs if cost.asks]
    most = max((cost.prompt_tokens + cost.completion_tokens for cost in asking), default=1)
    scale = Scale(0, most, 8, NARROW - 16)
    rows = [_bars(cost, scale, 20 + number * ROW) for number, cost in enumerate(asking)]
    bottom = 16 + len(asking) * ROW
    return figure(title, "tokens", drawing(NARROW, bottom + 20, f"Tokens of {title}", rows, bottom_axis(scale, bottom)))


def _bars(cost: StageCost, scale: Scale, y: float) -> Html:
    kinds = (
        ("strong", "in", cost.prompt_tokens - cost.cached_tokens),
        ("weak", "in, from the cache", cost.cached_tokens),
        ("middle", "out", cost.completion_tokens),
    )
    share = cost.cached_tokens / max(cost.prompt_tokens, 1)
    parts: list[Child] = [element("text", f"{cost.stage}, {share:.0%} cached", x=8, y=y - 5, class_="name")]
    end = 0
    for kind, what, tokens in kinds:
        width = round(scale(end + tokens) - scale(end), 2)
        parts.append(
            mark(
                "rect",
                f"{cost.stage}\n{tokens:,} tokens {what}",
                x=scale(end),
                y=y,
                width=width,
                height=11,
                class_=kind,
            )
            if tokens
            else None
        )
        end += tokens
    return element("g", parts)


def time_plot(title: str, costs: Sequence[StageCost]) -> Html:
    """Seconds from the start of every stage to its end."""
    scale = Scale(0, max(max(cost.wall_s for cost in costs), 0.001), 90, NARROW - 16)
    rows = [
        (
            element("text", cost.stage, x=84, y=19 + number * 18, text_anchor="end", class_="name"),
            mark(
                "rect",
                f"{cost.stage}\n{cost.wall_s:,.1f} s\n{cost.rows:,} rows",
                x=90,
                y=10 + number * 18,
                width=max(round(scale(cost.wall_s) - 90, 2), 1),
                height=11,
                class_="strong",
            ),
        )
        for number, cost in enumerate(costs)
    ]
    bottom = 14 + len(costs) * 18
    return figure(title, "seconds", drawing(NARROW, bottom + 20, f"Time of {title}", rows, bottom_axis(scale, bottom)))


def speed_plot(title: str, cost: StageCost, place: int) -> Html:
    """Tokens a second over time; where that is not known, of every part, in the order of the parts."""
    if cost.over_time is not None:
        minutes = cost.over_time.step_s / 60
        points = [(round((at + 0.5) * minutes, 4), speed) for at, speed in enumerate(cost.over_time.speeds)]
        drawn = _speeds(title, place, points, "minute", short)
        return figure(f"{title}, {cost.stage}", "tokens a second over time, all engines", wide_and_narrow(drawn))
    speeds = averaged(cost.tokens_per_second, SPEEDS_SHOWN)
    per_point = len(cost.tokens_per_second) / len(speeds)
    points = [(at * per_point, speed) for at, speed in enumerate(speeds)]
    drawn = _speeds(title, place, points, "part", _whole)
    return figure(f"{title}, {cost.stage}", "tokens a second of an engine, part by part", wide_and_narrow(drawn))


def _speeds(
    title: str, place: int, speeds: Sequence[tuple[float, float]], axis: str, label: Callable[[float], str]
) -> Callable[[float], Html]:
    def draw(width: float) -> Html:
        across = Scale(0, max(speeds[-1][0], 1e-6), 44, width - 12)
        up = Scale(0, max(max(speed for _, speed in speeds) * 1.1, 1), 130, 14)
        points = [(across(x), up(speed), x, speed) for x, speed in speeds]
        line = element("polyline", points=" ".join(f"{x},{y}" for x, y, *_ in points), class_="trace")
        shown = points if width == WIDE or len(points) <= 60 else points[:: len(points) // 60]
        dots = [
            mark("circle", f"{axis} {at:.4g}\n{speed:,.0f} tokens/s", cx=x, cy=y, r=2.5, class_="mark")
            for x, y, at, speed in shown
        ]
        axes = [left_axis(up, 44, width - 12), bottom_axis(across, 130, axis, label)]
        return drawing(width, 162, f"Speed of {title}", axes, element("g", line, dots, class_=f"run{place % 8}"))

    return draw


def _whole(value: float) -> str:
    """Parts are counted: between whole numbers an axis says nothing."""
    return f"{value:,.0f}" if value == int(value) else ""


def averaged(values: Sequence[float], at_most: int) -> list[float]:
    """Means of neighbours, so that there are at most so many."""
    size = -(-len(values) // at_most) or 1
    return [
        sum(values[start : start + size]) / len(values[start : start + size]) for start in range(0, len(values), size)
    ]
