"""How close a stage comes to the best that its replicas allow, with simulated replicas.

    python -m benchmarks.replicas [--replicas 1 8 64] [--seats 64] [--calls-per-second 400] [--share 1.0]

A replica is an actor of the real stage `differences` with an engine that sleeps: calls take lognormal times, and all
replicas together answer the same calls a second, however many they are. The bound is a simulation without parts of the
calls that were made, with the times that they took, in their order: a seat that gets free anywhere takes the next row
of all. All replicas are up before the clock starts.
For more replicas than a small machine can start, and for full Yelp, the dealing of parts is simulated as well
(`dispatch_simulation`). The results are in `benchmarks/results/replicas.json`.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from benchmarks import record
from benchmarks.dispatch_simulation import FULL, SMALL, Replicas, Shape, best_span, call_seconds, dealt_span
from benchmarks.record import read_figures, write_result
from drp_ray import schema
from drp_ray.data.sample_files import write_sample
from drp_ray.engines.base import Completion, Message, ModelSpec, Sampling
from drp_ray.job.job import Job
from drp_ray.job.levels import run_stage
from drp_ray.job.opened_job import OpenedJob
from drp_ray.running.cluster import connect
from drp_ray.running.monitor import start_monitor
from drp_ray.running.stage_info import RunOptions
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import Manifest, add_up, commit_part, part_name, write_manifest

RESULTS = record.RESULTS / "replicas.json"
SIGMA = 0.6
SIMULATED = (1, 2, 8, 16, 32, 64)
SEATS = (8, 64, 128, 256)
SEEDS = range(3)


class SleepingEngine:
    """Answers after a lognormal time. Its model's id names a folder, with a line for every replica's last answers."""

    context_length = None
    honours_seed = True

    def __init__(self, spec: ModelSpec) -> None:
        self._folder = Path(spec.id)
        self._told = json.loads((self._folder / "told.json").read_text())
        self.concurrency = int(self._told["seats"])
        self._chance = random.Random(os.getpid())
        self._rows: dict[int, list[float]] = {}

    async def start(self) -> None:
        """Wait until all replicas are up."""
        (self._folder / f"up-{os.getpid()}").touch()
        while len(list(self._folder.glob("up-*"))) < self._told["replicas"]:
            await asyncio.sleep(0.2)
        (self._folder / "began").touch()

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Sleep, and answer the same as always. The calls of a row have one priority, and no other row of a worker."""
        seconds = call_seconds(self._chance, self._told["mean_s"], SIGMA)
        self._rows.setdefault(sampling.priority, [time.time()]).append(seconds)
        await asyncio.sleep(seconds)
        return Completion("no difference", "stop", 1, 0, 1)

    async def close(self) -> None:
        """Say when this replica began each of its rows, and how long the calls of each took."""
        (self._folder / f"rows-{os.getpid()}.json").write_text(json.dumps(list(self._rows.values())))


def main() -> None:
    """Run, simulate, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--seats", type=int, default=64)
    parser.add_argument("--calls-per-second", type=float, default=400)
    parser.add_argument("--share", type=float, default=1.0, help="of the 23,733 rows of 3,000 users")
    parser.add_argument("--no-simulation", action="store_true", help="keep what was simulated before")
    arguments = parser.parse_args()
    results = read_figures("replicas") if RESULTS.exists() else {}
    shape = Shape(SMALL.name, int(SMALL.rows * arguments.share), SMALL.n_largest, SMALL.in_largest)
    if arguments.replicas:
        runs = [run(shape, count, arguments.seats, arguments.calls_per_second) for count in arguments.replicas]
        others = [one for one in results.get("run", []) if one["replicas"] not in arguments.replicas]
        results["run"] = sorted([*others, *runs], key=lambda one: int(one["replicas"]))
    if not arguments.no_simulation:
        cells = [(shape, count, seats) for shape in (SMALL, FULL) for seats in SEATS for count in SIMULATED]
        results["simulated"] = [simulate(*cell) for cell in cells]
        print("\n".join(map(line, results["simulated"])))
    write_result(RESULTS, {"sigma": SIGMA, **results})


def line(result: dict[str, Any]) -> str:
    """One line on a result."""
    return ", ".join(f"{name} {value}" for name, value in result.items())


def simulate(shape: Shape, count: int, seats: int) -> dict[str, Any]:
    """Dealing against the bound: medians over seeds, as shares."""
    replicas, parts = Replicas(count, seats, 1.0, SIGMA), shape.parts()
    dealt, hoarded, ideal = [], [], []
    for seed in SEEDS:
        seconds = replicas.row_seconds(sum(parts), seed)
        bound = best_span(seconds, count * seats)
        ideal.append(sum(seconds) / (count * seats) / bound)
        dealt.append(bound / dealt_span(parts, seconds, replicas))
        hoarded.append(bound / dealt_span(parts, seconds, replicas, hoarding=True))
    shares = {"of_bound": dealt, "of_bound_hoarding": hoarded, "bound_of_ideal": ideal}
    medians = {name: round(statistics.median(values), 3) for name, values in shares.items()}
    return {"shape": shape.name, "replicas": count, "seats": seats, **medians}


def run(shape: Shape, count: int, seats: int, calls_per_second: float) -> dict[str, Any]:
    """Run the stage with so many replicas."""
    replicas, parts = Replicas(count, seats, count * seats / calls_per_second, SIGMA), shape.parts()
    with tempfile.TemporaryDirectory() as folder:
        span, rows = timed(Path(folder), parts, replicas)
    in_order = sorted(row for of_replica in rows for row in of_replica)
    bound = best_span([sum(seconds) for _, *seconds in in_order], count * seats)
    calls = [sum(len(seconds) for _, *seconds in of_replica) for of_replica in rows]
    ideal = 2 * sum(parts) / calls_per_second
    result = {
        "shape": shape.name,
        "replicas": count,
        "seats": seats,
        "calls": sum(calls),
        "calls_of_a_replica": [min(calls), max(calls)],
        "seconds": round(span, 1),
        "bound_seconds": round(bound, 1),
        "of_bound": round(bound / span, 3),
        "of_ideal": round(ideal / span, 3),
    }
    print(line(result), flush=True)
    return result


Rows = list[list[float]]
"""When each row of a replica was begun, and how long each of its calls took."""


def timed(folder: Path, parts: list[int], replicas: Replicas) -> tuple[float, list[Rows]]:
    """Seconds from the moment when all replicas are up to the last commit, and the rows of each."""
    engine = folder / "engine"
    engine.mkdir()
    told = {"replicas": replicas.count, "seats": replicas.seats, "mean_s": replicas.mean_s}
    (engine / "told.json").write_text(json.dumps(told))
    job = open_job(folder, replicas)
    write_comparisons(job, parts)
    context = StageContext(
        job.plan.spec, job.dataset, {name: info.folder for name, info in job.plan.stages.items()}, job.cache, {}
    )
    with connect(num_cpus=2):
        options = RunOptions(heartbeat_s=30, lease_ttl_s=None, retry_errors=False, monitor=start_monitor())
        run_stage(job, "differences", context, options)
        ended = time.time()
    rows = [json.loads(file.read_text()) for file in engine.glob("rows-*")]
    return ended - max(file.stat().st_mtime for file in engine.glob("up-*")), rows


def open_job(folder: Path, replicas: Replicas) -> OpenedJob:
    """A job over a small dataset, whose comparisons are about to be made up."""
    write_sample(LocalFolder(folder / "data"), 8, seed=0)
    model = {"engine": "benchmarks.replicas:SleepingEngine", "id": str(folder / "engine"), "num_cpus": 0}
    settings = {
        "name": "replicas",
        "dataset": str(folder / "data"),
        "root": str(folder / "results"),
        "method": "drp",
        "embedding": {"engine": "tests.fakes:HashEmbedder", "model": str(folder / "embedded"), "num_gpus": 0},
        "models": {"llm": {**model, "replicas": replicas.count, "concurrency": replicas.seats}},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(settings))
    return Job.open(folder / "job.yaml").opened


def write_comparisons(job: OpenedJob, parts: list[int]) -> None:
    """Comparisons of made-up reviews, in parts of these sizes."""
    info, done, number = job.plan.stages["comparisons"], [], 0
    for index, size in enumerate(parts):
        rows = [comparison(number + place) for place in range(size)]
        number += size
        done.append(commit_part(info.folder, part_name(index), pa.Table.from_pylist(rows, schema.COMPARISONS), {}, ""))
    entries = [part.entry for part in done]
    totals = add_up(entry.facts for entry in entries)
    made_from = {"stage": info.name, "fingerprint": info.fingerprint, "made_from": dict(info.made_from)}
    write_manifest(info.folder, Manifest(**made_from, inputs={}, parts=entries, totals=totals))


def comparison(number: int) -> dict[str, Any]:
    """A user who is compared with another one."""
    review = {"item_id": f"item-{number}", "rating": 4.0, "title": "good", "text": "I liked it", "timestamp": 1}
    other = {"user_id": "other", "cluster": 1, "rating": 2.0, "title": "bad", "text": "I did not", "timestamp": 1}
    return {
        "user_id": f"user-{number}",
        "item_id": f"item-{number}",
        "rank": 0,
        "review": review,
        "title": "An item",
        "description": "",
        "cluster": 0,
        "representatives": [other],
        "target_timestamp": 2,
    }


if __name__ == "__main__":
    main()
