"""How the report writes the numbers of measures: metrics by the titles that they have themselves."""

from collections.abc import Iterable

from drp_ray.evaluation.metrics.base import METRICS


def in_order(names: Iterable[str]) -> list[str]:
    """Measures as a table has them, each once: metrics in their order, then others by name."""
    order = list(METRICS)
    return sorted(set(names), key=lambda name: (order.index(name) if name in order else len(order), name))


def title_of(name: str) -> str:
    """A measure's title; its name where nothing here knows it."""
    return METRICS[name].title if name in METRICS else name.replace("_", " ")


def digits_of(name: str) -> int:
    """The decimals that a measure is written with."""
    return METRICS[name].decimals if name in METRICS else 4


def written(name: str, value: float | None) -> str:
    """A value as the report writes it."""
    return "missing" if value is None else f"{value:.{digits_of(name)}f}"
