"""How much is asked again of a dataset that grew, with `runtime.reuse`.

    python -m benchmarks.growth [--shape yelp sample] [--scale 0.03] [--users 240] [--growth 0.01]
                                [--kinds NAME …] [--out FILE]

A dataset is made without some of its reviews, its latest reviews, or some of its users (`--kinds`), and a whole DRP
job is run on it; then one on the whole dataset, under the same root, with `runtime.reuse: true`. What is counted are
the rows of `differences` and `predictions` that the second job asked for. The models are stand-ins that answer at once.
`yelp` is full Yelp's shape (`yelp_shape`), with stand-ins for vectors too; `sample` is the generated sample with real
embeddings, K = 2.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

import drp_ray
from benchmarks.full_yelp import ROOT
from benchmarks.llm_stage import QUICKSTART
from benchmarks.record import RESULTS, write_result
from benchmarks.yelp_shape import write_yelp_shape
from drp_ray.data.sample_files import write_sample
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import read_manifest

STUB = {"engine": "benchmarks.yelp_shape:StubEngine", "id": "0", "num_gpus": 0}
HASHES = {"engine": "benchmarks.yelp_shape:HashingEmbedder", "model": "hash", "replicas": 1, "num_gpus": 0}


def main() -> None:
    """Measure, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=["yelp", "sample"], choices=["yelp", "sample"])
    parser.add_argument("--scale", type=float, default=0.03)
    parser.add_argument("--users", type=int, default=240)
    parser.add_argument("--growth", type=float, default=0.01)
    names = [growth.name for growth in GROWTHS]
    parser.add_argument("--kinds", nargs="+", default=names, choices=names)
    parser.add_argument("--out", type=Path, default=RESULTS / "growth.json")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"growth": arguments.growth, "scale": arguments.scale, "sample_users": arguments.users}
    for shape in arguments.shape:
        with tempfile.TemporaryDirectory() as scratch:
            figures[shape] = dict(measured(arguments, shape, Path(scratch)))
        write_result(arguments.out, figures)


@dataclass(frozen=True)
class Growth:
    """What the smaller dataset lacks, and how representatives are selected in both."""

    name: str
    lacks: Callable[[pa.Table, float], pa.Table]
    selection: dict[str, str]


def without_reviews(users: pa.Table, share: float) -> pa.Table:
    """Users without so large a share of their profiles' reviews, but at least two each."""
    chance = np.random.default_rng(0)
    return with_profiles(users, lambda profile: chance.random(len(profile)) >= share)


def without_latest_reviews(users: pa.Table, share: float) -> pa.Table:
    """Users without those reviews in their profiles that are the latest such share of all, but at least two each."""
    written = pc.struct_field(pc.list_flatten(users["profile"].combine_chunks()), "timestamp").to_numpy()
    end = np.quantile(written, 1 - share)
    return with_profiles(users, lambda profile: np.array([review["timestamp"] <= end for review in profile]))


def without_users(users: pa.Table, share: float) -> pa.Table:
    """All but so large a share of the users."""
    return users.filter(pa.array(np.random.default_rng(0).random(users.num_rows) >= share))


def with_profiles(users: pa.Table, stay: Callable[[list[Any]], np.ndarray]) -> pa.Table:
    """Users with those reviews in their profiles that are to stay, or all where these are fewer than two."""
    rows = users.to_pylist()
    for row in rows:
        stays = stay(row["profile"])
        if stays.sum() >= 2:
            row["profile"] = [review for review, is_kept in zip(row["profile"], stays, strict=True) if is_kept]
    return pa.Table.from_pylist(rows, users.schema)


GROWTHS = (
    Growth("reviews", without_reviews, {}),
    Growth("reviews, random representatives", without_reviews, {"strategy": "random"}),
    Growth("users", without_users, {}),
    Growth("latest reviews", without_latest_reviews, {}),
    Growth("latest reviews, as_of: target", without_latest_reviews, {"as_of": "target"}),
)


def measured(arguments: argparse.Namespace, shape: str, folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """By what grew: the shares of rows that are asked again."""
    whole = folder / "whole" / "data"
    if shape == "yelp":
        write_yelp_shape(whole, arguments.scale)
    else:
        write_sample(LocalFolder(whole), arguments.users, seed=0)
    for number, growth in enumerate(GROWTHS):
        if growth.name not in arguments.kinds:
            continue
        before, root = folder / f"before-{number}" / "data", folder / f"results-{number}"
        copy(whole, before, growth, arguments.growth)
        settings = settings_of(shape, root, growth.selection)
        run({**settings, "name": "before", "dataset": str(before)}, folder)
        after = {"name": "after", "dataset": str(whole), "runtime": {"reuse": True}}
        found = asked(run({**settings, **after}, folder))
        print(f"{shape}, {arguments.growth:.0%} more {growth.name}: {found}", flush=True)
        yield growth.name, found


def copy(whole: Path, smaller: Path, growth: Growth, share: float) -> None:
    """The dataset without what is to be added, in one file."""
    for kind in ("users", "items"):
        (smaller / kind).mkdir(parents=True)
        rows = pa.concat_tables([pq.read_table(file) for file in sorted((whole / kind).glob("*.parquet"))])
        pq.write_table(growth.lacks(rows, share) if kind == "users" else rows, smaller / kind / "part-00000.parquet")


def settings_of(shape: str, root: Path, selection: Mapping[str, str]) -> dict[str, Any]:
    """A DRP job without its name and dataset."""
    settings: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"root": str(root), "report": False, "evaluation": {}, "models": {"llm": STUB}}
    if shape == "yelp":
        settings["embedding"] = HASHES
        settings["retrieval"] = {"query": ["item_title"], "document": ["item_title", "review_text"]}
        settings["selection"] = {}
    settings["selection"] = {**settings["selection"], **selection}
    return settings


def run(settings: dict[str, Any], folder: Path) -> Path:
    """Run a job to its end; its file."""
    job = folder / f"{settings['name']}.yaml"
    job.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "drp_ray", "run", str(job)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return job


def asked(file: Path) -> dict[str, float]:
    """The shares of its rows that a finished job asked for, by stage."""
    job, found = drp_ray.open(file), {}
    for stage in ("differences", "predictions"):
        manifest = read_manifest(job.folder(stage))
        assert manifest is not None and manifest.totals is not None
        found[stage] = round(1 - manifest.totals.get("reused", 0) / manifest.totals["rows"], 4)
    return found


if __name__ == "__main__":
    main()
