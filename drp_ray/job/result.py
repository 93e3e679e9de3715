"""The result of a finished job: its scores, what stands behind them, and what to do about what fell short."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from drp_ray.config import Config
from drp_ray.errors import CannotWrite
from drp_ray.evaluation.authorship import ATTRIBUTIONS, AUTHORS
from drp_ray.evaluation.controls import report_controls
from drp_ray.evaluation.judge import JudgeMeasure
from drp_ray.evaluation.metrics.base import Measure, Metric, open_metrics
from drp_ray.evaluation.published import published_beside
from drp_ray.evaluation.user_scores import UserScores, len_of, values_of
from drp_ray.job.coverage import coverage_of
from drp_ray.job.judged import Judged
from drp_ray.job.plan import Plan
from drp_ray.job.run_scores import folders_of, read_controls
from drp_ray.stages.scores import reported
from drp_ray.storage.folder import Folder, write_if_changed
from drp_ray.storage.parts import Facts, Manifest

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Result:
    """What a finished job has to show."""

    metrics: Mapping[str, Any]
    error_rate: float
    folders: Mapping[str, str]
    advice: tuple[str, ...]
    users: UserScores
    judges: tuple[JudgeMeasure, ...] = ()
    """The measures that judges add to the columns of `users`."""


def report(
    config: Config,
    plan: Plan,
    folder: Folder,
    manifests: Mapping[str, Manifest],
    cache: Path,
    users: UserScores,
    judged: Sequence[Judged] = (),
    budget: Mapping[str, Any] | None = None,
) -> Result:
    """Compute the numbers of a run from its stages' totals and its users' scores; written beside `run.json`."""
    totals = {name: manifest.totals or {} for name, manifest in manifests.items()}
    opened = open_metrics(config.evaluation, cache)
    judges = tuple(measure for each in judged for measure in each.measures)
    controls = read_controls(folders_of(plan), judged)
    metrics = {
        "run": config.name,
        "method": plan.spec.method.name,
        "protocol": config.protocol,
        "users": int(totals["users"]["rows"]),
        **_scores(opened, totals["scores"], users),
        "by_method": _by_method([*opened, *judges], users),
        "judges": {each.name: {**each.numbers(), **_judge_value(each, users)} for each in judged},
        "coverage": coverage_of({**{each.stage: each.totals for each in judged}, **totals}),
        "published": _published(config, plan),
        **({"budget": dict(budget)} if budget is not None else {}),
        **_between_controls(opened, judges, users, controls),
    }
    rates = [_error_rate(facts) for facts in totals.values() if "errors" in facts]
    folders = {"run": folder.uri, **{name: info.folder.uri for name, info in plan.stages.items()}}
    advice = [*_advice(totals, metrics["scored"], opened)]
    try:
        write_if_changed(folder, METRICS_FILE, json.dumps(metrics, indent=1, sort_keys=True).encode())
    except CannotWrite as error:  # a finished run can be shown where nothing can be written
        advice.append(f"{METRICS_FILE} was not written: {error}")
    return Result(metrics, max(rates, default=0.0), folders, tuple(advice), users, judges)


def _scores(opened: Sequence[Metric], totals: Facts, users: UserScores) -> dict[str, Any]:
    """Every metric's number, how many users it is over, and what failures would make of it."""
    return {
        "metrics": reported(opened, totals),
        "scored": {metric.name: int(totals.get(f"scored:{metric.name}", 0)) for metric in opened},
        "signatures": {metric.name: metric.full_signature for metric in opened},
        "failed_users": len(users.users) - len(users.ok_users),
        "with_failures_as_empty": values_of(users.numbers_with_failures(opened)),
    }


def _by_method(measures: Sequence[Measure], users: UserScores) -> dict[str, Any]:
    by_method = users.by_method(measures).items()
    return {method: {"n": len_of(numbers), "metrics": values_of(numbers)} for method, numbers in by_method}


def _judge_value(judged: Judged, users: UserScores) -> dict[str, Any]:
    """A judge's number and the expected score, and how many users each is over; None for one that was not asked for."""
    numbers = users.numbers(judged.measures)
    value, *of_expected = [numbers[measure.name] for measure in judged.measures]
    expected, expected_n = of_expected[0] if of_expected else (None, None)
    return {"value": value.value, "n": value.n, "expected": expected, "expected_n": expected_n}


def _between_controls(
    opened: Sequence[Metric], judges: Sequence[JudgeMeasure], users: UserScores, controls: pa.Table | None
) -> dict[str, Any]:
    """What says whether the measures see the user, and whether two of them say the same."""
    measures: list[Measure] = [*opened, *judges]
    if controls is None:
        return {"rank_correlations": users.rank_correlations([each.name for each in measures])}
    measures = [*opened, *ATTRIBUTIONS, *judges]
    identified = users.numbers(ATTRIBUTIONS)
    return {
        "controls": report_controls(measures, users, controls),
        "author_identification": {
            "chance": 1 / AUTHORS,
            "signatures": {way.name: way.signature for way in ATTRIBUTIONS},
            "n": {name: number.n for name, number in identified.items()},
            "metrics": values_of(identified),
        },
        "rank_correlations": users.rank_correlations([each.name for each in measures]),
    }


def _published(config: Config, plan: Plan) -> dict[str, Any] | None:
    """What a paper reports as the mean over the executions of the run's protocol, of which this run is one."""
    programmes = (plan.spec.method, plan.spec.differences)
    roles = tuple(role for programme in programmes if programme is not None for role in programme.roles)
    row = published_beside(config, roles)
    return None if row is None else row.as_json()


def _error_rate(facts: Facts) -> float:
    return facts["errors"] / facts["rows"] if facts["rows"] else 0.0


def _advice(totals: Mapping[str, Facts], scored: Mapping[str, int], metrics: Sequence[Metric]) -> Iterator[str]:
    """What to do about error rows, and about metrics that scored fewer users than another one."""
    errors = sum(int(facts.get("errors", 0)) for facts in totals.values())
    if errors:
        yield f"{errors} error rows: run again with --retry-errors to try them again"
    most = max(scored.values(), default=0)
    for metric in metrics:
        lacking = most - scored[metric.name]
        if lacking:
            whom = f" for {lacking:,} of {most:,} users" if lacking < most else ""
            reason = metric.missing() or "what it needs is here now"
            yield f"{metric.title} is missing{whom}: {reason}; then run again with --retry-errors"
