"""The scores of a run as they are printed: one line a measure, between floor and ceiling."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from drp_ray.evaluation.controls import CEILING, FLOOR
from drp_ray.evaluation.judge import measure_name


@dataclass(frozen=True)
class ScoreLine:
    """One line of the printed scores; `floor` and `ceiling` are None where the job has no controls."""

    metric: str
    value: float | None
    users: int
    floor: float | None = None
    ceiling: float | None = None
    as_empty: float | None = None


def score_lines(metrics: Mapping[str, Any]) -> list[ScoreLine]:
    """The scores of `metrics.json`: metrics, author identification and judges, between floor and ceiling."""
    controls = metrics.get("controls", {})
    identification = metrics.get("author_identification", {"metrics": {}, "n": {}})
    judged = dict(_judge_numbers(metrics["judges"]))
    users = {**metrics["scored"], **identification["n"], **{name: n for name, (_, n) in judged.items()}}
    values = {
        **metrics["metrics"],
        **identification["metrics"],
        **{name: value for name, (value, _) in judged.items()},
    }
    return [
        ScoreLine(
            name,
            value,
            users[name],
            controls[FLOOR]["metrics"].get(name) if controls else None,
            controls[CEILING]["metrics"].get(name) if controls else None,
            metrics["with_failures_as_empty"].get(name),
        )
        for name, value in values.items()
    ]


def _judge_numbers(judges: Mapping[str, Any]) -> Iterator[tuple[str, tuple[float | None, int]]]:
    """The name of each measure of a judge, its value, and how many users it is over."""
    for judge, numbers in judges.items():
        yield measure_name(judge), (numbers["value"], numbers["n"])
        if numbers["expected"] is not None:
            yield f"{measure_name(judge)}_expected", (numbers["expected"], numbers["expected_n"])
