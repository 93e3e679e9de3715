"""How much is asked again of a dataset that grew, with `runtime.reuse`.

    python -m benchmarks.growth [--shape yelp sample] [--scale 0.03] [--users 240] [--growth 0.01]
                                [--strategies kmeans random] [--out FILE]

A dataset is made without some of its reviews, or without some of its users, and a whole DRP job is run on it; then one
on the whole dataset, under the same root, with `runtime.reuse: true`. What is counted are the rows of `differences` and
`predictions` that the second job asked for. The models are stand-ins that answer at once. `yelp` is full Yelp's shape
(`yelp_shape`), with stand-ins for vectors too; `sample` is the generated sample with real embeddings, K = 2.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
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
    parser.add_argument("--strategies", nargs="+", default=["kmeans", "random"])
    parser.add_argument("--out", type=Path, default=RESULTS / "growth.json")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"growth": arguments.growth, "scale": arguments.scale, "sample_users": arguments.users}
    for shape in arguments.shape:
        with tempfile.TemporaryDirectory() as scratch:
            figures[shape] = dict(measured(arguments, shape, Path(scratch)))
        write_result(arguments.out, figures)


def measured(arguments: argparse.Namespace, shape: str, folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """By what grew and the strategy: the shares of rows that are asked again."""
    whole = folder / "whole" / "data"
    if shape == "yelp":
        write_yelp_shape(whole, arguments.scale)
    else:
        write_sample(LocalFolder(whole), arguments.users, seed=0)
    for what, smaller in (("reviews", without_reviews), ("users", without_users)):
        before = folder / what / "data"
        copy(whole, before, partial(smaller, share=arguments.growth))
        for strategy in arguments.strategies:
            root = folder / f"results-{what}-{strategy}"
            settings = settings_of(shape, root, strategy)
            run({**settings, "name": "before", "dataset": str(before)}, folder)
            after = {"name": "after", "dataset": str(whole), "runtime": {"reuse": True}}
            found = asked(run({**settings, **after}, folder))
            print(f"{shape}, {arguments.growth:.0%} more {what}, {strategy}: {found}", flush=True)
            yield f"{what}, {strategy}", found


def without_reviews(users: pa.Table, share: float) -> pa.Table:
    """Users without so large a share of their profiles' reviews, but at least two each."""
    chance = np.random.default_rng(0)
    rows = users.to_pylist()
    for row in rows:
        stays = chance.random(len(row["profile"])) >= share
        if stays.sum() >= 2:
            row["profile"] = [review for review, is_kept in zip(row["profile"], stays, strict=True) if is_kept]
    return pa.Table.from_pylist(rows, users.schema)


def without_users(users: pa.Table, share: float) -> pa.Table:
    """All but so large a share of the users."""
    return users.filter(pa.array(np.random.default_rng(users.num_rows).random(users.num_rows) >= share))


def copy(whole: Path, smaller: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """The dataset with other users."""
    for kind in ("users", "items"):
        (smaller / kind).mkdir(parents=True)
        for file in sorted((whole / kind).glob("*.parquet")):
            rows = pq.read_table(file)
            pq.write_table(change(rows) if kind == "users" else rows, smaller / kind / file.name)


def settings_of(shape: str, root: Path, strategy: str) -> dict[str, Any]:
    """A DRP job without its name and dataset."""
    settings: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"root": str(root), "report": False, "evaluation": {}, "models": {"llm": STUB}}
    if shape == "yelp":
        settings["embedding"] = HASHES
        settings["retrieval"] = {"query": ["item_title"], "document": ["item_title", "review_text"]}
        settings["selection"] = {}
    settings["selection"] = {**settings["selection"], "strategy": strategy}
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
