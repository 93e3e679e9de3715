"""What finished runs know of each user, aligned by user: scores, lengths, embeddings, counts of differences."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from drp_ray.errors import BadInput
from drp_ray.evaluation.analyses.feature_counts import FeatureCounts, counts_of
from drp_ray.evaluation.analyses.intervals import Values
from drp_ray.evaluation.metrics.base import METRICS
from drp_ray.job.compared_runs import targets_of
from drp_ray.job.finished import FinishedRun, RunGroup

PROFILE_LEAVES = ("user_id", "profile.list.element.timestamp", "target.rating")


@dataclass(frozen=True)
class GroupScores:
    """The users that a result predicts for, in order, and their value of every measure: NaN where there is none.

    A user who failed in one execution has no value. Otherwise it is the mean over the executions. `targets` are digests
    of what was to be written for each user.
    """

    users: tuple[str, ...]
    failed: frozenset[str]
    values: Mapping[str, Values]
    targets: Mapping[str, bytes]

    def at(self, users: Sequence[str]) -> dict[str, Values]:
        """The values of other users in their order; NaN for those that are not here."""
        places = {user: place for place, user in enumerate(self.users)}
        order = [places.get(user, -1) for user in users]
        return {name: np.append(values, np.nan)[order] for name, values in self.values.items()}


def group_scores(group: RunGroup) -> GroupScores:
    """The scores of a result, user by user: of the measures that all its executions have, and compute alike."""
    others = [set(measures_of(run)) for run in group.executions[1:]]
    unlike = differing_signatures(group)
    alike = [
        name
        for name in measures_of(group.executions[0])
        if name not in unlike and all(name in other for other in others)
    ]
    failed: set[str] = set()
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    users: set[str] = set()
    for run in group.executions:
        users |= run.scores.users
        failed |= run.scores.users - run.scores.ok_users
        for name in alike:
            for user, value in zip(
                run.scores.table["user_id"].to_pylist(), run.scores.table[name].to_pylist(), strict=True
            ):
                found[name][user].append(np.nan if value is None else value)
    ordered = tuple(sorted(users))
    values = {
        name: np.array([np.nan if user in failed else _mean(by_user.get(user)) for user in ordered])
        for name, by_user in found.items()
    }
    targets = {user: target for run in group.executions for user, target in targets_of(run).items()}
    return GroupScores(ordered, frozenset(failed), values, targets)


def _mean(values: list[float] | None) -> float:
    if not values:
        return np.nan
    return float(np.mean(values)) if len(values) > 1 else float(values[0])


def measures_of(run: FinishedRun) -> list[str]:
    """The columns with a user's value of a metric or a judge; a corpus metric's is that of the user's text alone."""
    return [name for name in run.scores.table.column_names if name in METRICS or name.startswith("judge")]


def differing_signatures(*groups: RunGroup) -> list[str]:
    """The metrics and judges that executions of these results do not compute alike."""
    found: dict[str, set[str]] = defaultdict(set)
    for run in (run for group in groups for run in group.executions):
        for name, signature in run.signatures.items():
            found[name].add(signature)
    return sorted(name for name, signatures in found.items() if len(signatures) > 1)


def covariates(group: RunGroup) -> dict[str, dict[str, float]]:
    """By name and user: reviews in the profile, the target's rating, characters of the true and the written review."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    written: dict[str, list[float]] = defaultdict(list)
    for run in group.executions:
        for part in run.parts("users", PROFILE_LEAVES):
            users = part["user_id"].to_pylist()
            found["profile_length"].update(zip(users, pc.list_value_length(part["profile"]).to_pylist(), strict=True))
            found["rating"].update(zip(users, pc.struct_field(part["target"], "rating").to_pylist(), strict=True))
        for part in run.parts("predictions", ("user_id", "reference", "prediction")):
            users = part["user_id"].to_pylist()
            found["reference_length"].update(_lengths(users, part["reference"]))
            for user, length in _lengths(users, part["prediction"]):
                written[user].append(length)
    found["prediction_length"] = {user: float(np.mean(lengths)) for user, lengths in written.items()}
    return dict(found)


def _lengths(users: Iterable[str], texts: pa.ChunkedArray) -> Iterator[tuple[str, float]]:
    lengths = pc.utf8_length(texts).to_pylist()
    return ((user, float(length)) for user, length in zip(users, lengths, strict=True) if length is not None)


@dataclass(frozen=True)
class UserEmbeddings:
    """Mean embeddings float64[users, d] of those users who have an embedded review, and how many reviews each has."""

    users: tuple[str, ...]
    means: Values
    reviews: NDArray[np.int64]


def user_embeddings(group: RunGroup) -> UserEmbeddings | None:
    """The mean embedding of every user who is predicted for; None where the job made no embeddings.

    A user's texts are those reviews of the profile that `items` holds: of items on which some user is compared.
    """
    if not all(run.has("items") and run.has("embeddings") for run in group.executions):
        return None
    means: dict[str, tuple[Values, int]] = {}
    for run in {run.users_fingerprint: run for run in group.executions}.values():
        means.update(_embeddings_of(run))
    users = tuple(sorted(means))
    if not users:
        return None
    return UserEmbeddings(
        users, np.stack([means[user][0] for user in users]), np.array([means[user][1] for user in users])
    )


def _embeddings_of(run: FinishedRun) -> Iterator[tuple[str, tuple[Values, int]]]:
    users = sorted(run.scores.users)
    readers = _readers_by_text(run, users)
    sums, counts = None, np.zeros(len(users), np.int64)
    for part in run.parts("embeddings", ("text_id", "vector.list.element")):
        vectors = _matrix(part["vector"].combine_chunks())
        pairs = [
            (place, user) for place, text in enumerate(part["text_id"].to_pylist()) for user in readers.get(text, ())
        ]
        if not pairs:
            continue
        places, owners = np.array(pairs).T
        sums = np.zeros((len(users), vectors.shape[1])) if sums is None else sums
        np.add.at(sums, owners, vectors[places])
        np.add.at(counts, owners, 1)
    if sums is not None:
        for place in np.flatnonzero(counts):
            yield users[place], (sums[place] / counts[place], int(counts[place]))


def _readers_by_text(run: FinishedRun, users: Sequence[str]) -> dict[str, list[int]]:
    """The places of the users who wrote a text, once a review."""
    places = {user: place for place, user in enumerate(users)}
    found: dict[str, list[int]] = defaultdict(list)
    for part in run.parts("items", ("reviews.list.element.user_id", "reviews.list.element.text_id")):
        reviews = part["reviews"].combine_chunks().flatten()
        writers, texts = (pc.struct_field(reviews, name).to_pylist() for name in ("user_id", "text_id"))
        for writer, text in zip(writers, texts, strict=True):
            if writer in places:
                found[text].append(places[writer])
    return found


def _matrix(lists: pa.ListArray) -> Values:
    width = len(lists[0]) if len(lists) else 0
    flat: Values = lists.flatten().to_numpy().astype(np.float64)
    return flat.reshape(len(lists), width)


def feature_counts(group: RunGroup) -> list[dict[str, FeatureCounts]]:
    """The counts of every execution, by user.

    Raises:
        BadInput: the run has no `feature_keys`.
    """
    found = []
    for run in group.executions:
        if not run.has("feature_keys"):
            raise BadInput(
                f"run {run.name}: no feature_keys; set evaluation.feature_keys: true and roles.judge, and run the job"
            )
        rows: list[Any] = run.rows("feature_keys", ["user_id", "status", "failed", "keys"]).to_pylist()
        found.append(counts_of(rows))
    return found
