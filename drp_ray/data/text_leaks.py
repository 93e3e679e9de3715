"""Leaks of a dataset: targets whose text is found, exactly or nearly, in a profile.

Texts are read twice, a row group at a time: first the targets, of which hashes are kept, and then the profiles, by
tasks of Ray Data, each compared with all targets.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray.data.figures import SplitFigures
from drp_ray.data.row_rules import collapsed, text_hash
from drp_ray.data.shingles import References, shingle
from drp_ray.data.task_runner import Task, TaskRunner
from drp_ray.inputs.dataset import Dataset, RowGroup

EXAMPLES = 3
LEAK_KINDS = {
    "own, exact": "target's text in the user's own profile",
    "own, near": "target's text nearly in the user's own profile",
    "peers, exact": "target's text in another user's profile",
    "peers, near": "target's text nearly in another user's profile",
}


@dataclass(frozen=True)
class TargetTexts:
    """The texts to be written, as hashes: `exact` are sorted, and `rows` are the rows that they belong to."""

    users: list[str]
    exact: np.ndarray
    rows: np.ndarray
    near: References


@dataclass
class TextLeaks:
    """Rows whose target's text is found in a profile, by kind, and some of their users."""

    rows: dict[str, set[int]] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)


def find_text_leaks(runner: TaskRunner, dataset: Dataset, near: float) -> tuple[SplitFigures, TextLeaks]:
    """Compare every profile with every target; with the leaks the figures, as all users are read for both."""
    import ray

    targets = _target_texts(dataset, near)
    tasks, first_row = [], 0
    for group in dataset.row_groups():
        if group.rows:
            tasks.append({"file": group.file, "index": group.index, "rows": group.rows, "first_row": first_row})
        first_row += group.rows
    figures, leaks = [], TextLeaks()
    for row in runner.run(tasks, _compare_profiles, {"dataset": dataset, "targets": ray.put(targets)}):
        figures.append(SplitFigures.from_json(json.loads(row["figures"])))
        for kind, found in json.loads(row["leaks"]).items():
            leaks.rows.setdefault(kind, set()).update(found)
    for kind, rows in leaks.rows.items():
        leaks.users[kind] = [targets.users[row] for row in sorted(rows)[:EXAMPLES]]
    return SplitFigures.sum(figures), leaks


def _target_texts(dataset: Dataset, near: float) -> TargetTexts:
    users: list[str] = []
    texts: list[pa.Array] = []
    for group in dataset.row_groups():
        with dataset.users.open(group.file) as file:
            rows = pq.ParquetFile(file).read_row_group(group.index, columns=["user_id", "target"])
        users += rows["user_id"].to_pylist()
        texts.append(pc.struct_field(rows["target"], "text").combine_chunks().cast(pa.string()))
    all_texts = pa.concat_arrays(texts)
    hashes = _exact_hashes(all_texts)
    order = np.argsort(hashes, kind="stable")
    return TargetTexts(users, hashes[order], order, References.of(shingle(all_texts), near))


def _exact_hashes(texts: pa.Array) -> np.ndarray:
    return np.array([text_hash(collapsed(text)) for text in texts.to_pylist()], np.int64)


def _compare_profiles(task: Task, dataset: Dataset, targets: Any) -> list[Task]:
    """A task: the figures of a row group, and the rows whose target is found in its profiles, by kind."""
    import ray

    first_row = task.pop("first_row")
    wanted: TargetTexts = ray.get(targets)
    users = dataset.read_users(RowGroup(**task))
    profiles = users["profile"].combine_chunks()
    owners = pc.list_parent_indices(profiles).to_numpy()
    ids = users["user_id"].to_pylist()
    texts = pc.struct_field(pc.list_flatten(profiles), "text")
    exact = set(_equal(texts, wanted))
    near = set(wanted.near.near(shingle(texts))) - exact
    leaks: dict[str, set[int]] = {}
    for likeness, pairs in (("exact", exact), ("near", near)):
        for text, row in pairs:
            owner = int(owners[text])
            if first_row + owner == row:
                leaks.setdefault(f"own, {likeness}", set()).add(row)
            elif ids[owner] != wanted.users[row]:
                leaks.setdefault(f"peers, {likeness}", set()).add(row)
    found = {kind: sorted(rows) for kind, rows in leaks.items()}
    return [{"figures": json.dumps(SplitFigures.of(users).to_json()), "leaks": json.dumps(found)}]


def _equal(texts: pa.Array, wanted: TargetTexts) -> Iterator[tuple[int, int]]:
    """Pairs (text, row whose target has the same text)."""
    hashes = _exact_hashes(texts)
    low = np.searchsorted(wanted.exact, hashes, "left")
    high = np.searchsorted(wanted.exact, hashes, "right")
    for text in np.flatnonzero(high > low).tolist():
        for position in range(low[text], high[text]):
            yield text, int(wanted.rows[position])
