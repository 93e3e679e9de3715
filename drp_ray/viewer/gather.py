"""Collects what runs know of the chosen users: streams the parts of their stages, and spills pieces by user and item.

Runs share stages' folders. Each folder is read once, and is a *source* with a number; a run names its sources.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.job.finished import FinishedRun, read_ahead
from drp_ray.llm.kept import KEPT, parts_without_kept
from drp_ray.schema import Row
from drp_ray.storage.folder import Folder
from drp_ray.viewer.spill import Spill
from drp_ray.viewer.validation import followed

CALLS = (
    *("status", "error", "attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "thinking_tokens"),
    *("finish_reason", "truncated"),
)
REVIEW = ("item_id", "rating", "title", "text", "timestamp")
REVIEW_WITH_ITEM = ("item_title", "item_description", *REVIEW)

Sources = dict[str, int]
"""The number of the folder that each kind of piece of a run comes from."""

Piece = dict[str, Any]
Pieces = Iterable[tuple[str, tuple[int, str], Piece]]
"""Users, what orders the pieces of one source, and the pieces."""


@dataclass
class Gathered:
    """Pieces by user and by item. `sources` has those of each run, in the order of the runs."""

    users: Spill
    items: Spill
    sources: list[Sources] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _peers: set[str] = field(default_factory=set)

    def source(self, kind: str, folder: Folder, read: Callable[[], Pieces]) -> int:
        """The number of a folder, which is read where no run before has it."""
        name = f"{kind} {folder.uri}"
        if name not in self._numbers:
            number = self._numbers[name] = len(self._numbers)
            for user, (rank, item), piece in read():
                self.users.add(user, (number, rank, item), {"source": number, **piece})
        return self._numbers[name]

    def add_item(self, comparison: Row) -> None:
        """Keep what an item's page needs of a comparison: the item, and representatives that are not there yet."""
        item = comparison["item_id"]
        if f"\0{item}" not in self._peers:
            self._peers.add(f"\0{item}")
            self.items.add(item, (0, "", ""), {"title": comparison["title"], "description": comparison["description"]})
        for peer in comparison["representatives"]:
            key = peer_key(peer)
            if f"{key}\0{item}" not in self._peers:
                self._peers.add(f"{key}\0{item}")
                self.items.add(item, (1, peer["user_id"], key), {"key": key, **_of(peer, ("user_id", *REVIEW[1:]))})


def gather(runs: Sequence[FinishedRun], chosen: Sequence[str], gathered: Gathered) -> None:
    """Read all runs' stages for the chosen users."""
    wanted = pa.array(chosen, pa.string())
    for run in runs:
        sources: Sources = {}
        for kind, stage, pieces in _kinds(run, gathered):
            folder = run.stages[stage].at(KEPT) if kind.endswith("thoughts") else run.stages[stage]
            rows = _rows(run, stage, folder, wanted)
            sources[kind] = gathered.source(kind, folder, lambda rows=rows, pieces=pieces: map(pieces, rows))  # type: ignore[misc]
        gathered.sources.append(sources)


def _kinds(
    run: FinishedRun, gathered: Gathered
) -> Iterator[tuple[str, str, Callable[[Row], tuple[str, tuple[int, str], Piece]]]]:
    """The kinds of pieces of a run: their name, their stage, and what makes a piece of a row."""

    def comparison(row: Row) -> tuple[str, tuple[int, str], Piece]:
        gathered.add_item(row)
        return _comparison(row)

    yield "context", "contexts", _context
    if "comparisons" in run.manifests:
        yield "comparisons", "comparisons", comparison
    if "differences" in run.manifests:
        yield "differences", "differences", _difference
        if has_kept(run, "differences"):
            yield "difference_thoughts", "differences", _thought
    yield "prediction", "predictions", _prediction
    if has_kept(run, "predictions"):
        yield "prediction_thoughts", "predictions", _thought


def has_kept(run: FinishedRun, stage: str) -> bool:
    """Whether the run kept what its models thought."""
    return bool(run.stages[stage].at(KEPT).entries())


def _rows(run: FinishedRun, stage: str, folder: Folder, wanted: pa.Array) -> Iterator[Row]:
    names = [part.name for part in run.entries(stage)]
    if folder.uri != run.stages[stage].uri:
        missing = parts_without_kept(run.stages[stage], run.manifests[stage])
        names = [name for name in names if name not in missing]
    for part in read_ahead(folder, names):
        rows = part.filter(pc.is_in(part["user_id"], value_set=wanted))
        yield from (rows.filter(pc.is_valid(rows["thinking"])) if "thinking" in rows.column_names else rows).to_pylist()


def _context(row: Row) -> tuple[str, tuple[int, str], Piece]:
    history = [_of(review, REVIEW_WITH_ITEM) for review in row["history"]]
    peers = [_of(review, ("user_id", *REVIEW_WITH_ITEM)) for review in row["peers"] or []]
    counts = _of(row, ("n_comparisons", "n_no_difference", "n_failed_differences"))
    return (
        row["user_id"],
        (0, ""),
        {"target": row["target"], "reference": row["reference"], "history": history, "peers": peers, **counts},
    )


def _comparison(row: Row) -> tuple[str, tuple[int, str], Piece]:
    representatives = [{"peer": peer_key(peer), "cluster": peer["cluster"]} for peer in row["representatives"]]
    piece = _of(row, ("item_id", "rank", "cluster"))
    review = _of(row["review"], REVIEW[1:])
    return (
        row["user_id"],
        (row["rank"], row["item_id"]),
        {**piece, "review": review, "representatives": representatives},
    )


def _difference(row: Row) -> tuple[str, tuple[int, str], Piece]:
    piece = {**_of(row, ("item_id", "rank", "extracted", "validated")), "differences": followed(row)}
    return row["user_id"], (row["rank"], row["item_id"]), {**piece, **_of(row, CALLS)}


def _prediction(row: Row) -> tuple[str, tuple[int, str], Piece]:
    told = ("method", "fallback", "summary", "prediction", "n_history", "n_differences", "n_failed_differences")
    return row["user_id"], (0, ""), {**_of(row, told), **_of(row, CALLS)}


def _thought(row: Row) -> tuple[str, tuple[int, str], Piece]:
    item = row.get("item_id", "")
    return row["user_id"], (row["call"], item), {"item_id": item, **_of(row, ("call", "role", "thinking"))}


def _of(row: Row, names: Iterable[str]) -> Piece:
    return {name: row[name] for name in names if name in row}


def peer_key(peer: Row) -> str:
    """A short name of a review by another user; equal reviews have equal names in every run."""
    content = json.dumps([peer[name] for name in ("user_id", *REVIEW[1:])], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
