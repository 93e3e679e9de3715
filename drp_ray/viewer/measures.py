"""How the report writes the numbers of measures: metrics, author identification and judges, by their own titles."""

from collections.abc import Iterable

from drp_ray.evaluation.authorship import ATTRIBUTIONS
from drp_ray.evaluation.metrics.base import METRICS, Better, Measure
from drp_ray.job.finished import FinishedRun

AUTHORSHIP = tuple(each.name for each in ATTRIBUTIONS)


def in_order(names: Iterable[str]) -> list[str]:
    """Measures as a table has them, each once: metrics in their order, then others by name."""
    order = list(METRICS)
    return sorted(set(names), key=lambda name: (order.index(name) if name in order else len(order), name))


def titles_of(runs: Iterable[FinishedRun]) -> dict[str, str]:
    """The titles of all measures that runs have, by name."""
    measures: list[Measure] = [measure for run in runs for measure in run.measures]
    return {measure.name: measure.title for measure in measures}


def better_of(name: str) -> Better:
    """Which values are the better ones; all but some metrics are better where they are higher."""
    return METRICS[name].better if name in METRICS else "higher"


def digits_of(name: str) -> int:
    """The decimals that a measure is written with."""
    return METRICS[name].decimals if name in METRICS else 4


def written(name: str, value: float | None) -> str:
    """A value as the report writes it."""
    return "missing" if value is None else f"{value:.{digits_of(name)}f}"


def signed(name: str, value: float | None) -> str:
    """A difference as the report writes it."""
    return "missing" if value is None else f"{value:+.{digits_of(name)}f}"
