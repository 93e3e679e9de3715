"""What a judge's answers come to: a number for every user, and what is reported of a run."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import stdev
from typing import Any

import pyarrow as pa

from drp_ray.config import ONE_JUDGE, Judge
from drp_ray.evaluation.metrics.base import MeanOfUsers
from drp_ray.evaluation.scale import HIGHEST
from drp_ray.storage.parts import Facts

PREDICTION = "prediction"
"""The value of the column `text` in rows that judge a prediction."""


@dataclass(frozen=True)
class JudgeMeasure(MeanOfUsers):
    """A judge as a measure: a user's value is the mean of the answers that could be read, divided by 10.

    `source` is the column of `schema.JUDGEMENTS` that it is the mean of: `score`, or `expected`.
    """

    name: str
    title: str
    source: str = "score"

    @property
    def columns(self) -> list[pa.Field]:
        """One column of the measure's name; null where no answer could be read."""
        return [pa.field(self.name, pa.float64())]

    def values(self, judgements: pa.Table, text: str = PREDICTION) -> pa.Table:
        """The value of every user, in user_id order, from the rows that judge `text`."""
        answers: dict[str, list[float]] = {}
        for row in judgements.select(["user_id", "text", self.source]).to_pylist():
            if row["text"] == text:
                found = answers.setdefault(row["user_id"], [])
                found += [] if row[self.source] is None else [row[self.source]]
        users = sorted(answers)
        means = [_mean(answers[user]) for user in users]
        return pa.table({"user_id": pa.array(users, pa.string()), self.name: pa.array(means, pa.float64())})


def _mean(answers: list[float]) -> float | None:
    """The mean of answers in any order, divided by 10."""
    return math.fsum(answers) / len(answers) / HIGHEST if answers else None


def measure_name(judge: str) -> str:
    """The name of a judge's number: `judge`, or `judge_NAME`."""
    return ONE_JUDGE if judge == ONE_JUDGE else f"{ONE_JUDGE}_{judge}"


def measures_of(judges: Mapping[str, Judge]) -> list[JudgeMeasure]:
    """The measures of all judges, in their order; one that says what it expects has two."""
    found = []
    for judge, settings in judges.items():
        name = measure_name(judge)
        found.append(JudgeMeasure(name, f"Judge {judge}" if judge != ONE_JUDGE else "Judge"))
        if settings.expected:
            found.append(JudgeMeasure(f"{name}_expected", f"{found[-1].title}, expected score", "expected"))
    return found


def score_facts(rows: pa.Table) -> Facts:
    """What adds up over parts, by the text that is judged, and the scores also by sample."""
    facts: Facts = {}
    for row in rows.select(["text", "sample", "status", "score", "answer", "expected", "format_trust"]).to_pylist():
        text, is_read, failed = row["text"], row["score"] is not None, row["status"] == "error"
        for name, value in {
            f"score:{text}:{row['sample']}": row["score"] or 0,
            f"scored:{text}:{row['sample']}": int(is_read),
            f"asked:{text}": int(is_read or failed),
            f"unreadable:{text}": int(failed and row["answer"] is not None),
            f"failed:{text}": int(failed),
            f"without_expected:{text}": int(is_read and row["expected"] is None),
            f"trusted:{text}": int(row["format_trust"] is not None),
            f"trust:{text}": row["format_trust"] or 0.0,
        }.items():
            facts[name] = facts.get(name, 0) + value
    return facts


def sample_means(totals: Facts, samples: Iterable[int], text: str = PREDICTION) -> list[float]:
    """The mean score of every sample that has one, divided by 10."""
    places = [f"{text}:{sample}" for sample in samples]
    return [
        totals[f"score:{place}"] / totals[f"scored:{place}"] / HIGHEST
        for place in places
        if totals.get(f"scored:{place}")
    ]


def spread(means: list[float]) -> float | None:
    """The standard deviation over samples, as the papers print it; None of fewer than two."""
    return stdev(means) if len(means) > 1 else None


def judge_numbers(totals: Facts, settings: Judge, text: str = PREDICTION) -> dict[str, Any]:
    """What is reported of a judge besides its value: what was asked, and what could not be read."""
    counts = {name: int(totals.get(f"{name}:{text}", 0)) for name in ("asked", "unreadable")}
    numbers = {
        **counts,
        "errors": int(totals.get(f"failed:{text}", 0)),
        "sd_over_samples": spread(sample_means(totals, range(settings.samples), text)),
    }
    if not settings.expected:
        return numbers
    trusted = totals.get(f"trusted:{text}", 0)
    return {
        **numbers,
        "without_expected": int(totals.get(f"without_expected:{text}", 0)),
        "format_trust": totals[f"trust:{text}"] / trusted if trusted else None,
    }
