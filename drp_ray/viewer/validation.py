"""What validation did with the differences that were extracted: which it kept, reworded, removed or added."""

from collections.abc import Sequence
from typing import Any

from drp_ray.llm.replies import parse_features
from drp_ray.schema import Row


def followed(row: Row) -> list[dict[str, Any]]:
    """The differences of a row of `schema.DIFFERENCES`, each with what became of it.

    `state` is `kept`, `changed` (then `was` has the earlier wording), `removed` or `added`; it is `found` where nothing
    validates. Differences are the same where their names are, however they are written.
    """
    features = [dict(feature) for feature in row["features"] or []]
    if row["validated"] is None:
        return [{**feature, "state": "found"} for feature in features]
    before = {_key(feature): dict(feature) for feature in parse_features(row["extracted"] or "")}
    after = {_key(feature) for feature in features}
    removed = [{**feature, "state": "removed"} for key, feature in before.items() if key not in after]
    return [_compared(feature, before.get(_key(feature))) for feature in features] + removed


def counted(differences: Sequence[Row]) -> dict[str, int]:
    """How many differences there are in each state."""
    states = [difference["state"] for difference in differences]
    return {state: states.count(state) for state in sorted(set(states))}


def _compared(feature: dict[str, Any], was: dict[str, Any] | None) -> dict[str, Any]:
    if was is None:
        return {**feature, "state": "added"}
    if all(_words(was[name]) == _words(feature[name]) for name in ("definition", "description")):
        return {**feature, "state": "kept"}
    return {**feature, "state": "changed", "was": was}


def _key(feature: Row) -> str:
    return _words(feature["name"]).casefold()


def _words(text: str | None) -> str:
    return " ".join((text or "").split())
