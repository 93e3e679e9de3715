"""How the report writes the numbers of measures: metrics by the titles that they have themselves."""

from collections.abc import Iterable

from drp_ray.evaluation.metrics.base import METRICS

PERCENT_LIKE = frozenset({"bleu"})
"""Measures from 0 to 100, which need fewer decimals."""


ORDER = ("rouge1", "meteor", "rougeL", "bleu")
"""The measures that the papers report, in their order; others follow by name."""


def in_order(names: Iterable[str]) -> list[str]:
    """Measures as a table has them, each once."""
    return sorted(set(names), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def title_of(name: str) -> str:
    """A measure's title; its name where nothing here knows it."""
    return METRICS[name].title if name in METRICS else name.replace("_", " ")


def digits_of(name: str) -> int:
    """The decimals that a measure is written with."""
    return 2 if name in PERCENT_LIKE else 4


def written(name: str, value: float | None) -> str:
    """A value as the report writes it."""
    return "missing" if value is None else f"{value:.{digits_of(name)}f}"
