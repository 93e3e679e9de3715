"""How far an item's groups and representatives move with noise on the vectors, reviewers' order and K-means' starts.

    python -m benchmarks.representatives [RAW] [--folder DIR] [--repeats 5]

RAW is a folder with raw Amazon reviews (`Digital_Music.jsonl.gz` and its `meta_` file). A dataset is built of them and
the quickstart's job runs until `embeddings`; both stay in DIR for the next time. Then every item that the job compares
users on is clustered again and again: with noise on its vectors, and with its reviewers in another order. Each time is
compared with the first time (no noise, reviewers by user id, the same number of starts). Items with no more points than
groups are left out: each of their points is a representative, whatever happens.

* groups: the adjusted Rand index of the two partitions, 1 where they are equal;
* same: the share of the representatives that are the same, with ties by user id, as a job chooses;
* items: the share of the items all of whose representatives are the same;
* own ties: `same`, with ties to whoever comes first in the order in which the points were clustered;
* float32: `same`, with the smallest float32 distance and no tolerance, as before ties were treated.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import adjusted_rand_score

import drp_ray
from benchmarks.prepare import CUTS, QUICKSTART, build_dataset
from drp_ray.config import Selection
from drp_ray.stages.items import vectors_by_text
from drp_ray.stages.strategies.kmeans import cluster, nearest_to_centre

RAW = Path(__file__).parents[2] / "shared" / "data" / "digital_music"
NOISE = (5e-8, 1e-7, 1e-5, 1e-3)
STARTS = (1, 10, 20)
COLUMNS = ("groups", "same", "items", "own ties", "float32")


@dataclass(frozen=True)
class Change:
    """What is done to an item before it is clustered again: uniform noise on each number, or another order."""

    n_init: int
    noise: float = 0.0
    is_shuffled: bool = False

    @property
    def name(self) -> str:
        """The row's title in the table."""
        change = "another order" if self.is_shuffled else f"noise of {self.noise:g}"
        return f"{change}, n_init {self.n_init}"


class Clustered(NamedTuple):
    """An item's groups (int[n], points by user id) and three choices of representatives, by their points."""

    labels: np.ndarray
    by_user: set[int]
    by_order: set[int]
    by_float32: set[int]


def main() -> None:
    """Print one row a change, each a mean over items and repeats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, nargs="?", default=RAW)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "drp-ray-representatives")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    items = embedded_items(arguments.raw, arguments.folder)
    print(f"{len(items)} items with {sum(map(len, items)):,} points, {arguments.repeats} repeats")
    table = Table("change", *COLUMNS)
    changes = [Change(Selection().n_init, noise=noise) for noise in NOISE]
    changes += [Change(n_init, is_shuffled=True) for n_init in STARTS]
    began = time.monotonic()
    for change in changes:
        table.add_row(change.name, *(f"{value:.3f}" for value in measure(items, change, arguments.repeats)))
    Console(width=120).print(table)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {time.monotonic() - began:.0f} s of clustering")


def embedded_items(raw: Path, folder: Path) -> list[np.ndarray]:
    """The vectors (float32[n, d]) of every requested item's distinct texts, in the order of their first users."""
    dataset = folder / "five"
    if not (dataset / "test").is_dir():
        build_dataset(raw, dataset, CUTS["five"])
    job = drp_ray.open(QUICKSTART, {"dataset": str(dataset / "test"), "root": str(folder / "results")})
    job.run(until="embeddings")
    vectors = vectors_by_text(job.table("embeddings"))
    reviews_of_items = job.table("items")["reviews"].to_pylist()
    texts_of_items = [dict.fromkeys(review["text_id"] for review in reviews) for reviews in reviews_of_items]
    groups = Selection().k + 1
    return [np.stack([vectors[text] for text in texts]) for texts in texts_of_items if len(texts) > groups]


def measure(items: list[np.ndarray], change: Change, repeats: int) -> np.ndarray:
    """The means of `COLUMNS`."""
    rng = np.random.default_rng(0)
    rows = []
    for points in items:
        first = clustered(points, np.arange(len(points)), change.n_init)
        for _ in range(repeats):
            order = rng.permutation(len(points)) if change.is_shuffled else np.arange(len(points))
            noisy = (points + rng.uniform(-change.noise, change.noise, points.shape)).astype(np.float32)
            rows.append(compare(first, clustered(noisy, order, change.n_init)))
    return np.mean(rows, axis=0)


def clustered(points: np.ndarray, order: np.ndarray, n_init: int) -> Clustered:
    """Cluster an item's points (float32[n, d], by user id) in an order, as the stage `comparisons` does."""
    reviews = [{"text_id": str(row)} for row in order]
    groups = cluster(reviews, {str(row): point for row, point in enumerate(points)}, Selection(n_init=n_init))
    labels = np.empty(len(points), int)
    labels[order] = groups.cluster_of
    return Clustered(
        labels,
        by_user=chosen(points.astype(np.float64), labels, np.arange(len(points)), nearest_to_centre),
        by_order={int(order[one.position]) for one in groups.representatives},
        by_float32=chosen(points, labels, order, smallest_float32),
    )


def chosen(points: np.ndarray, labels: np.ndarray, order: np.ndarray, nearest: Callable[[np.ndarray], int]) -> set[int]:
    """A representative for each group: what `nearest` takes of its members, which stand in the given order."""
    members_of_groups = [order[labels[order] == label] for label in np.unique(labels)]
    return {int(members[nearest(points[members])]) for members in members_of_groups}


def smallest_float32(members: np.ndarray) -> int:
    """The row of float32[n, d] nearest to its mean, where rounding decides between equally near ones."""
    return int(np.argmin(((members - members.mean(axis=0)) ** 2).sum(axis=1)))


def compare(first: Clustered, again: Clustered) -> list[float]:
    """The values of `COLUMNS` for one item."""
    return [
        float(adjusted_rand_score(first.labels, again.labels)),
        share(first.by_user, again.by_user),
        float(first.by_user == again.by_user),
        share(first.by_order, again.by_order),
        share(first.by_float32, again.by_float32),
    ]


def share(first: set[int], again: set[int]) -> float:
    """How many of the representatives are the same."""
    return len(first & again) / len(first)


if __name__ == "__main__":
    main()
