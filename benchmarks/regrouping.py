"""How many comparisons of an item get other representatives when one review is added to it, by how K-means starts.

    python -m benchmarks.regrouping [RAW] [--folder DIR] [--added 4] [--k 2 4] [--out FILE]

The items are those of `benchmarks.representatives`, with real reviews and real embeddings. Of each, some reviews are
left out one at a time: without it and with it the item is grouped, and every other user's representatives are compared,
in their order and as sets. The ways to start:

* as it is: scikit-learn's starts, ten of them, drawn by place;
* 50 starts: the same with fifty, so that the best groups are found more often;
* by texts: ten starts whose chances follow from each text's digest, so that a text more changes few of them;
* from before: one start, from the centres without the review. Groups then hang on the order in which reviews came.

`spread` is the sum of squared distances to the centres, over that of the first way: more means worse groups.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.record import RESULTS, write_result
from benchmarks.representatives import RAW, embedded_items
from drp_ray.config import Selection
from drp_ray.stages.strategies import few_points
from drp_ray.stages.strategies.few_points import TOLERANCE, Points
from drp_ray.stages.strategies.kmeans import WEIGHT_STEP, _kmeans, nearest_to_centre

STARTS, SEED = 10, 42


class Grouped(NamedTuple):
    """The group of every text, and the text that represents each group, in group order."""

    group_of: dict[str, int]
    representatives: dict[int, str]
    spread: float


Way = Callable[[np.ndarray, Sequence[str], int, "Grouped | None"], np.ndarray]
"""From points, their texts, K and the groups before to the group of every point."""


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, nargs="?", default=RAW)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "drp-ray-representatives")
    parser.add_argument("--added", type=int, default=4, help="reviews an item that are added, one at a time")
    parser.add_argument("--k", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--out", type=Path, default=RESULTS / "regrouping.json")
    arguments = parser.parse_args()
    items = embedded_items(arguments.raw, arguments.folder)
    figures: dict[str, Any] = {"items": len(items), "texts": sum(map(len, items))}
    for k in arguments.k:
        figures[f"K = {k}"] = dict(measured([item for item in items if len(item) > k + 2], k, arguments.added))
    write_result(arguments.out, figures)


def measured(items: list[np.ndarray], k: int, added: int) -> Iterator[tuple[str, dict[str, float]]]:
    """The shares of comparisons that change, by way."""
    spread_as_it_is = 0.0
    for name, way in WAYS.items():
        in_order, as_sets, spread, chance = list[bool](), list[bool](), 0.0, np.random.default_rng(0)
        for number, points in enumerate(items):
            texts = [f"{number}-{place}" for place in range(len(points))]
            for left_out in chance.choice(len(points), min(added, len(points)), replace=False).tolist():
                stay = [place for place in range(len(points)) if place != left_out]
                fewer = [texts[place] for place in stay]
                before = grouped(way, points[stay], fewer, k, None)
                after = grouped(way, points, texts, k, before)
                spread += after.spread
                for text in fewer:
                    one, other = others(before, text), others(after, text)
                    in_order.append(one != other)
                    as_sets.append(set(one) != set(other))
        spread_as_it_is = spread_as_it_is or spread
        found = {
            "comparisons": len(in_order),
            "changed": round(float(np.mean(in_order)), 3),
            "changed_as_sets": round(float(np.mean(as_sets)), 3),
            "spread": round(spread / spread_as_it_is, 4),
        }
        print(f"K = {k}, {name}: {found}", flush=True)
        yield name, found


def grouped(way: Way, points: np.ndarray, texts: Sequence[str], k: int, before: Grouped | None) -> Grouped:
    """Group an item's texts."""
    points = points.astype(np.float64)
    labels = way(points, texts, k, before)
    representatives, spread = {}, 0.0
    for label in sorted(set(labels.tolist())):
        members = points[labels == label]
        representatives[label] = texts[int(np.flatnonzero(labels == label)[nearest_to_centre(members)])]
        spread += float(((members - members.mean(axis=0)) ** 2).sum())
    return Grouped(dict(zip(texts, labels.tolist(), strict=True)), representatives, spread)


def others(groups: Grouped, text: str) -> list[str]:
    """Who a text's writer is compared with."""
    own = groups.group_of[text]
    return [representative for label, representative in groups.representatives.items() if label != own]


def as_it_is(points: np.ndarray, texts: Sequence[str], k: int, before: Grouped | None) -> np.ndarray:
    """As the stage `comparisons` groups."""
    return _kmeans(points, Selection(k=k, n_init=STARTS, seed=SEED))


def fifty_starts(points: np.ndarray, texts: Sequence[str], k: int, before: Grouped | None) -> np.ndarray:
    """The same with more starts."""
    return _kmeans(points, Selection(k=k, n_init=50, seed=SEED))


def by_texts(points: np.ndarray, texts: Sequence[str], k: int, before: Grouped | None) -> np.ndarray:
    """Starts that are raced for: of a text's digest follows how late it comes, and the first one is taken."""
    few, late = few_points_of(points), np.stack([lateness(text, k + 1) for text in texts], axis=2)
    centres = np.empty((STARTS, k + 1), int)
    closest = np.ones((STARTS, len(texts)))
    for group in range(k + 1):
        with np.errstate(divide="ignore"):
            race = late[:, group] / (closest * few.weights)
        proposed = np.argsort(race, axis=1)[:, : 2 + int(np.log(k + 1)) if group else 1]
        between = few.between[proposed]
        then = np.minimum(closest[:, None, :], between) if group else between
        best = (then @ few.weights).argmin(axis=1)
        each = np.arange(STARTS)
        centres[:, group], closest = proposed[each, best], then[each, best]
    return iterated(points, few, centres, k)


def from_before(points: np.ndarray, texts: Sequence[str], k: int, before: Grouped | None) -> np.ndarray:
    """Lloyd's iterations from the centres of the groups before; as it is where there are none."""
    if before is None:
        return as_it_is(points, texts, k, None)
    from sklearn.cluster import KMeans

    known = np.array([before.group_of.get(text, -1) for text in texts])
    centres = np.stack([points[known == label].mean(axis=0) for label in before.representatives])
    return np.asarray(KMeans(len(centres), init=centres, n_init=1).fit_predict(points))


def lateness(text: str, groups: int) -> np.ndarray:
    """Exponential numbers that follow from a text: float64[STARTS, groups]."""
    seed = np.frombuffer(hashlib.sha256(f"{SEED} {text}".encode()).digest(), np.uint32)
    return np.random.RandomState(seed).exponential(size=(STARTS, 64))[:, :groups]


def few_points_of(points: np.ndarray) -> Points:
    """Points by their inner products, weighted as the stage does."""
    centred = points - points.mean(axis=0)
    return Points(centred @ centred.T, 1 - WEIGHT_STEP * np.arange(len(points)))


def iterated(points: np.ndarray, few: Points, centres: np.ndarray, k: int) -> np.ndarray:
    """The best groups from these first centres; as it is where a group becomes empty on the way."""
    found = few_points._iterate(few, centres, k + 1, TOLERANCE * few.lengths.sum() / points.size)
    return as_it_is(points, (), k, None) if found is None else few_points._best(*found)


WAYS: dict[str, Way] = {
    "as it is": as_it_is,
    "50 starts": fifty_starts,
    "by texts": by_texts,
    "from before": from_before,
}


if __name__ == "__main__":
    main()
