"""Analyses of finished runs: uniqueness, curves over N and K, bins of users, unique valid features.

What is computed is in `evaluation.analyses`; docs/analyses.md describes the result.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from drp_ray.evaluation.analyses.bins import binned
from drp_ray.evaluation.analyses.feature_counts import FeatureCounts, users_by_key
from drp_ray.evaluation.analyses.intervals import LEVEL, Draws, mean_of, spearman
from drp_ray.evaluation.analyses.uniqueness import by_half, distances_from_centre, is_more_unique
from drp_ray.job.compared_runs import why_not_paired
from drp_ray.job.finished import RunGroup
from drp_ray.job.protocols import AVERAGED, check_same_protocol
from drp_ray.job.user_values import (
    GroupScores,
    UserEmbeddings,
    covariates,
    differing_signatures,
    feature_counts,
    group_scores,
    user_embeddings,
)

CURVES = {"N": ("retrieval", "n"), "K": ("selection", "k")}
"""The settings over which curves are drawn, by the name that the papers have for them."""

Found = dict[str, Any]


def analyse(groups: Sequence[RunGroup], mixed_protocols: bool = False, draws: Draws | None = None) -> Found:
    """All analyses that the runs allow; what they do not allow says what is missing.

    Raises:
        BadInput: the runs are of several protocols, and that was not asked for.
    """
    draws = draws or Draws()
    protocols = {group.name: group.protocol for group in groups}
    is_mixed = check_same_protocol(protocols, mixed_protocols)
    scores = [group_scores(group) for group in groups]
    return {
        "runs": [group.name for group in groups],
        "protocols": protocols,
        "mixed_protocols": is_mixed,
        "interval": {"method": "percentile bootstrap over users", "level": LEVEL, **draws.__dict__},
        "users": {
            group.name: {"predicted": len(found.users), "failed": len(found.failed)}
            for group, found in zip(groups, scores, strict=True)
        },
        "uniqueness": uniqueness(groups, scores, draws),
        "curves": curves(groups, scores, draws),
        "bins": {group.name: _bins(group, found, draws) for group, found in zip(groups, scores, strict=True)},
        "unique_features": {
            group.name: _unique_features(group, found, draws) for group, found in zip(groups, scores, strict=True)
        },
    }


def as_json(found: Found) -> str:
    """The result as text; equal runs give equal text."""
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def uniqueness(groups: Sequence[RunGroup], scores: Sequence[GroupScores], draws: Draws) -> Found:
    """Means and gains of the more and of the less unique half; only what is `missing` without embeddings."""
    embedded = next(((group, found) for group in groups if (found := user_embeddings(group)) is not None), None)
    if embedded is None:
        return {"missing": "no run has embeddings of reviews; add a run of dpl, drp or persona-db on the same users"}
    group, embeddings = embedded
    distances = distances_from_centre(embeddings.means)
    halves = is_more_unique(distances)
    users, values = embeddings.users, [found.at(embeddings.users) for found in scores]
    return {
        "embeddings_of": group.name,
        "users": _counts_of(embeddings, scores[groups.index(group)]),
        "median_distance": float(np.median(distances)),
        "distances": dict(zip(users, map(float, distances), strict=True)),
        "more_unique": [user for user, is_unique in zip(users, halves, strict=True) if is_unique],
        "runs": {each.name: _means_by_half(halves, found, draws) for each, found in zip(groups, values, strict=True)},
        "pairs": [
            _pair(
                groups[0],
                other,
                by_half(distances, values[0], found, draws),
                why_not_paired(groups[0].name, other.name, scores[0].targets, theirs.targets),
            )
            for other, found, theirs in zip(groups[1:], values[1:], scores[1:], strict=True)
        ],
    }


def _counts_of(embeddings: UserEmbeddings, scores: GroupScores) -> Found:
    return {
        "with_embeddings": len(embeddings.users),
        "without_embeddings": len(set(scores.users) - set(embeddings.users)),
        "reviews_per_user": {"least": int(embeddings.reviews.min()), "median": float(np.median(embeddings.reviews))},
    }


def _means_by_half(halves: Any, values: dict[str, Any], draws: Draws) -> Found:
    """The mean of every measure over the more and over the less unique half."""
    return {
        name: {
            half: mean_of(found[members & ~np.isnan(found)], draws).as_json("mean")
            for half, members in (("more_unique", halves), ("less_unique", ~halves))
        }
        for name, found in values.items()
    }


def _pair(one: RunGroup, other: RunGroup, found: Found, refused: str | None) -> Found:
    """The gain of the first run over another one, without the metrics that the two do not compute alike.

    `refused` says why there is no gain at all.
    """
    unlike = differing_signatures(one, other)
    measures = {name: gains for name, gains in found["measures"].items() if name not in unlike and refused is None}
    return {
        "a": one.name,
        "b": other.name,
        "note": refused,
        "not_comparable": unlike,
        "users": found["users"],
        "measures": measures,
    }


def curves(groups: Sequence[RunGroup], scores: Sequence[GroupScores], draws: Draws) -> list[Found]:
    """A curve for every set of runs that differ in nothing but N, or nothing but K."""
    found_curves = []
    for name, (section, key) in CURVES.items():
        alike: dict[str, list[tuple[int, RunGroup, GroupScores]]] = {}
        for group, found in zip(groups, scores, strict=True):
            value = getattr(getattr(group.config, section), key)
            alike.setdefault(_all_but(group, section, key), []).append((value, group, found))
        found_curves += [
            _curve(name, sorted(points, key=lambda point: point[0]), draws)
            for points in alike.values()
            if len({value for value, _, _ in points}) == len(points) > 1
        ]
    return found_curves


def _all_but(group: RunGroup, section: str, key: str) -> str:
    """What decides a result, but for one setting: the others, those of all executions where they are averaged over."""
    settings = group.config.model_dump(mode="json", exclude={"name", "runtime", "root", "protocol", "evaluation"})
    for place in (*AVERAGED, (section, key)):
        del settings[place[0]][place[1]]
    executions = sorted(
        [getattr(getattr(run.config, one), other) for one, other in AVERAGED] for run in group.executions
    )
    return json.dumps([group.protocol, executions, settings], sort_keys=True)


def _curve(name: str, points: Sequence[tuple[int, RunGroup, GroupScores]], draws: Draws) -> Found:
    """Every point over the users who have a score at all of them."""
    users = sorted(set.intersection(*({*found.users} - found.failed for _, _, found in points)))
    values = [found.at(users) for _, _, found in points]
    unlike = {metric for _, group, _ in points for metric in differing_signatures(points[0][1], group)}
    measures = [name for name in values[0] if name not in unlike and all(name in each for each in values)]
    scored = {name: ~np.any([np.isnan(each[name]) for each in values], axis=0) for name in measures}
    return {
        "setting": name,
        "method": points[0][1].config.method,
        "runs": [group.name for _, group, _ in points],
        "users": len(users),
        "points": [
            {
                "value": value,
                "measures": {name: mean_of(each[name][scored[name]], draws).as_json("mean") for name in measures},
            }
            for (value, _, _), each in zip(points, values, strict=True)
        ],
    }


def _bins(group: RunGroup, scores: GroupScores, draws: Draws) -> Found:
    """Users in bins of what is known of them; the bins hold failed users too, and count them as missing."""
    found = {}
    for name, numbers in covariates(group).items():
        users = [user for user in scores.users if user in numbers]
        found[name] = {
            "bins": binned(np.array([numbers[user] for user in users], np.float64), scores.at(users), draws),
            "users_without": len(scores.users) - len(users),
        }
    return found


def _unique_features(group: RunGroup, scores: GroupScores, draws: Draws) -> Found:
    if not all(run.has("feature_keys") for run in group.executions):
        return {
            "missing": "no feature_keys: set evaluation.feature_keys: true and a judge (roles.judge) in a job of a "
            "method with differences, and run it"
        }
    executions = feature_counts(group)
    users = sorted({user for counts in executions for user, found in counts.items() if found.is_known})
    keys = np.array([_unique_keys(user, executions) for user in users])
    every = [found for counts in executions for found in counts.values()]
    values = scores.at(users)
    return {
        "users": len(users),
        "users_without": len(set(scores.users) - set(users)),
        "unique_keys": mean_of(keys, draws).as_json("mean"),
        "totals": {name: _total(every, name) for name in ("features", "other", "unreadable", "contradictory")},
        "failed_comparisons": _total(every, "failed"),
        "users_by_key": users_by_key(every),
        "per_user": dict(zip(users, map(float, keys), strict=True)),
        "correlation": {
            name: spearman(keys[scored], found[scored], draws).as_json("rho")
            for name, found in values.items()
            for scored in [~np.isnan(found)]
        },
    }


def _unique_keys(user: str, executions: Sequence[dict[str, FeatureCounts]]) -> float:
    """The mean over the executions in which something is known of the user."""
    found = [counts[user].unique_keys for counts in executions if user in counts and counts[user].is_known]
    return float(np.mean(found))


def _total(counts: Sequence[FeatureCounts], name: str) -> int:
    return sum(getattr(found, name) for found in counts)
