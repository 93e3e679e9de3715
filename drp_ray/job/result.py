"""The result of a finished job: its scores, what stands behind them, and what to do about what fell short."""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from drp_ray.config import Config
from drp_ray.evaluation.authorship import ATTRIBUTIONS, AUTHORS
from drp_ray.evaluation.controls import CEILING, FLOOR, PREDICTION, report_controls
from drp_ray.evaluation.judge import JudgeMeasure, measure_name
from drp_ray.evaluation.metrics.base import Metric, open_metrics
from drp_ray.evaluation.published import published_beside
from drp_ray.evaluation.user_scores import FROM_PREDICTIONS, Numbers, UserScores
from drp_ray.job.judged import Judged
from drp_ray.job.plan import Plan
from drp_ray.stages.scores import reported
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, Manifest, read_rows

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


def read_user_scores(plan: Plan, judged: Sequence[Judged] = ()) -> UserScores:
    """The scores of a finished run, user by user; with the columns of judges where `judged_of` found some."""
    return user_scores_in(folders_of(plan), judged)


def folders_of(plan: Plan) -> dict[str, Folder]:
    """The folder of every stage, by the stage's name."""
    return {name: info.folder for name, info in plan.stages.items()}


def user_scores_in(folders: Mapping[str, Folder], judged: Sequence[Judged] = ()) -> UserScores:
    """The same from the folders of the run's stages, by the stages' names."""
    predictions = read_rows(folders["predictions"], FROM_PREDICTIONS)
    columns = [values for each in judged for values in each.user_columns()]
    users = UserScores.join(predictions, read_rows(folders["scores"]), *columns)
    controls = read_controls(folders)
    if controls is None:
        return users
    return users.with_columns({way.name: controls[f"{PREDICTION}:{way.name}"] for way in ATTRIBUTIONS})


def has_controls(stages: Container[str]) -> bool:
    """Whether a run has the scores of controls among its complete stages."""
    return "control_scores" in stages and "prediction_controls" in stages


def read_controls(folders: Mapping[str, Folder]) -> pa.Table | None:
    """The scores of all controls, in user_id order; None where the run has none."""
    if not has_controls(folders):
        return None
    tables = [read_rows(folders[name]) for name in ("control_scores", "prediction_controls")]
    of_data, of_run = (table.sort_by("user_id") for table in tables)
    for name in of_run.column_names[1:]:
        of_data = of_data.append_column(name, of_run[name])
    return of_data.combine_chunks()


def report(
    config: Config,
    plan: Plan,
    folder: Folder,
    manifests: Mapping[str, Manifest],
    cache: Path,
    users: UserScores,
    judged: Sequence[Judged] = (),
) -> Result:
    """Compute the numbers of a run from its stages' totals and its users' scores; written beside `run.json`."""
    judges = tuple(measure for each in judged for measure in each.measures)
    totals = {name: manifest.totals or {} for name, manifest in manifests.items()}
    opened = open_metrics(config.evaluation, cache)
    scores = reported(opened, totals["scores"])
    metrics = {
        "run": config.name,
        "method": plan.spec.method.name,
        "protocol": config.protocol,
        "users": int(totals["users"]["rows"]),
        "metrics": scores,
        "scored": {metric.name: int(totals["scores"].get(f"scored:{metric.name}", 0)) for metric in opened},
        "with_failures_as_empty": values_of(users.numbers_with_failures(opened)),
        "by_method": {
            method: {"n": len_of(numbers), "metrics": values_of(numbers)}
            for method, numbers in users.by_method([*opened, *judges]).items()
        },
        "judges": {each.name: {**each.numbers(), **_judge_value(each, users)} for each in judged},
        "failed_users": len(users.users) - len(users.ok_users),
        "signatures": {metric.name: metric.full_signature for metric in opened},
        "coverage": _coverage({**{each.stage: each.totals for each in judged}, **totals}),
        "published": _published(config, plan),
    }
    controls = read_controls(folders_of(plan))
    if controls is not None:
        metrics["controls"] = report_controls(opened, users, controls)
        metrics["author_identification"] = {
            "chance": 1 / AUTHORS,
            "signatures": {way.name: way.signature for way in ATTRIBUTIONS},
            "n": {name: number.n for name, number in users.numbers(ATTRIBUTIONS).items()},
            "metrics": values_of(users.numbers(ATTRIBUTIONS)),
        }
    metrics["rank_correlations"] = users.rank_correlations(
        [*scores, *(way.name for way in ATTRIBUTIONS if controls is not None)]
    )
    folder.write(METRICS_FILE, json.dumps(metrics, indent=1, sort_keys=True).encode())
    rates = {name: _error_rate(facts) for name, facts in totals.items() if "errors" in facts}
    folders = {"run": folder.uri, **{name: info.folder.uri for name, info in plan.stages.items()}}
    return Result(
        metrics, max(rates.values(), default=0.0), folders, tuple(_advice(totals, scores, opened)), users, judges
    )


def _judge_value(judged: Judged, users: UserScores) -> dict[str, Any]:
    """A judge's number over the users with a readable answer, how many they are, and the expected score."""
    numbers = users.numbers(judged.measures)
    value, *expected = [numbers[measure.name] for measure in judged.measures]
    return {"value": value.value, "n": value.n, "expected": expected[0].value if expected else None}


def _published(config: Config, plan: Plan) -> dict[str, Any] | None:
    """What a paper reports as the mean over the executions of the run's protocol, of which this run is one."""
    programmes = (plan.spec.method, plan.spec.differences)
    roles = tuple(role for programme in programmes if programme is not None for role in programme.roles)
    row = published_beside(config, roles)
    return None if row is None else row.as_json()


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
            yield f"{measure_name(judge)}_expected", (numbers["expected"], numbers["n"])


def values_of(numbers: Numbers) -> dict[str, float | None]:
    """Every metric's value."""
    return {name: number.value for name, number in numbers.items()}


def len_of(numbers: Numbers) -> int:
    """How many users the metric that scored most of them is over."""
    return max((number.n for number in numbers.values()), default=0)


def _coverage(totals: Mapping[str, Facts]) -> dict[str, Any]:
    """What stands behind the numbers: who was written for by which method, and what fell short."""
    predictions, found = totals["predictions"], totals.get("differences", {})
    comparisons, users = int(found.get("rows", 0)), int(predictions["rows"])
    return {
        "users_by_method": _counted(predictions, "method:"),
        "users_with_a_simpler_method": _counted(predictions, "fallback:"),
        "users_with_failed_differences": int(predictions.get("users_with_failed_differences", 0)),
        "comparisons": comparisons,
        "comparisons_without_representatives": int(found.get("no_representatives", 0)),
        "comparisons_without_difference": int(found.get("no_difference", 0)),
        "comparisons_per_user": _per(comparisons, users),
        "representatives_per_comparison": _per(found.get("representatives", 0), comparisons),
        "representatives_later_than_the_target": int(totals.get("comparisons", {}).get("later_representatives", 0)),
        "users_without_peers": int(totals.get("peers", {}).get("without_peers", 0)),
        "differences_not_parsed": int(found.get("unparsed", 0)),
        "error_rows": _of_stages(totals, "errors"),
        "truncated": _of_stages(totals, "truncated"),
        "unfinished_thinking": _of_stages(totals, "unfinished_thinking"),
        "cut_off": _of_stages(totals, "cut_off"),
        "preambles_removed": _of_stages(totals, "preambles"),
        **({"judge_answers_unreadable": unreadable} if (unreadable := _of_stages(totals, "unreadable")) else {}),
        **_feature_keys(totals),
    }


def _feature_keys(totals: Mapping[str, Facts]) -> dict[str, Any]:
    """What became of the features that a judge put under keys, in jobs that have it do so."""
    facts = totals.get("feature_keys")
    return {} if facts is None else {name: int(facts[name]) for name in ("features", "unreadable_keys", "other_keys")}


def _counted(facts: Facts, prefix: str) -> dict[str, int]:
    """The facts whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): int(count) for name, count in facts.items() if name.startswith(prefix)}


def _per(count: float, of: int) -> float:
    return round(count / of, 3) if of else 0.0


def _of_stages(totals: Mapping[str, Facts], fact: str) -> dict[str, int]:
    """A fact of every stage that asks a language model."""
    return {name: int(facts[fact]) for name, facts in totals.items() if fact in facts}


def coverage_lines(coverage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The coverage as a table of two columns: what was counted, and the numbers."""
    return [(name.replace("_", " "), _numbers(value)) for name, value in coverage.items()]


def _numbers(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{value:,}"
    return ", ".join(f"{name} {count:,}" for name, count in value.items()) or "none"


def _error_rate(facts: Facts) -> float:
    return facts["errors"] / facts["rows"] if facts["rows"] else 0.0


def _advice(
    totals: Mapping[str, Facts], scores: Mapping[str, float | None], metrics: Sequence[Metric]
) -> Iterator[str]:
    errors = sum(int(facts.get("errors", 0)) for facts in totals.values())
    if errors:
        yield f"{errors} error rows: run again with --retry-errors to try them again"
    some_scored = any(value is not None for value in scores.values())
    for metric in metrics:
        if scores[metric.name] is None and some_scored:
            reason = metric.missing() or "what it needs is here now"
            yield f"{metric.title} is missing: {reason}; then run again with --retry-errors"
