"""What stands behind the numbers of a run: who was written for by which method, and what fell short."""

from collections.abc import Mapping
from typing import Any

from drp_ray.llm.memory import FORGOTTEN
from drp_ray.storage.parts import Facts


def coverage_of(totals: Mapping[str, Facts]) -> dict[str, Any]:
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
        **({"users_forgotten": forgotten} if (forgotten := int(totals.get("users", {}).get(FORGOTTEN, 0))) else {}),
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
