"""Seconds, CPU seconds and memory of a whole DRP job on full Yelp's shape, beyond what its models take.

    python -m benchmarks.full_yelp [--scale 0.1] [--cpus 2] [--until STAGE] [--delay 0] [--folder FOLDER]

The dataset and the stand-ins for the models are those of `yelp_shape`; with `--delay` every call takes so many
seconds. The job is run by the command line in a process of its own. All that this process started is looked at four
times a second: CPU time of all processes that were ever seen, and the proportional share of memory (Pss), in which what
processes share counts once. `benchmarks/results/full_yelp.json` has the last run of every scale.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.record import write_result
from benchmarks.yelp_shape import write_yelp_shape

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "full_yelp.json"
LOOK_EVERY_S = 0.25
GB = 1e9


@dataclass
class StageCost:
    """What a stage took, from the end of the stage before it; `processes` began in it, memory in GB is the highest."""

    stage: str
    seconds: float
    cpu_seconds: float
    processes: int
    driver_gb: float
    all_gb: float


@dataclass
class Watch:
    """Looks at a process and its descendants until that ends."""

    process: psutil.Process
    cpu_of: dict[int, float] = field(default_factory=dict)
    driver_gb: float = 0.0
    all_gb: float = 0.0

    def look(self) -> None:
        """Add to the CPU times and raise the peaks."""
        total = 0.0
        for one in [self.process, *_descendants(self.process)]:
            try:
                times, memory = one.cpu_times(), _pss_gb(one.pid)
            except (psutil.Error, OSError):
                continue  # it ended meanwhile; its CPU time was seen before
            self.cpu_of[one.pid] = times.user + times.system
            total += memory
            if one.pid == self.process.pid:
                self.driver_gb = max(self.driver_gb, memory)
        self.all_gb = max(self.all_gb, total)

    def until_end(self) -> None:
        """Look until the process ended."""
        while self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
            self.look()
            time.sleep(LOOK_EVERY_S)

    def cost_since(self, stage: str, began: float, before: Mapping[int, float]) -> StageCost:
        """What was seen since the last stage, when processes had the CPU times `before`; the peaks begin anew."""
        now = dict(self.cpu_of)
        seconds, cpu_seconds = time.monotonic() - began, sum(now.values()) - sum(before.values())
        cost = StageCost(stage, seconds, cpu_seconds, len(now.keys() - before), self.driver_gb, self.all_gb)
        self.driver_gb = self.all_gb = 0.0
        return cost


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _pss_gb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / GB
    return 0.0


def main() -> None:
    """Measure, print a line a stage, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--until", default=None)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--folder", type=Path, help="keeps the dataset and the results")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that gets the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        costs = measure(arguments, arguments.folder or Path(scratch))
    keep(costs, arguments)


def measure(arguments: argparse.Namespace, folder: Path) -> list[StageCost]:
    """Run the job; what each stage took."""
    dataset = folder / f"yelp-{arguments.scale:g}"
    if not dataset.exists():
        write_yelp_shape(dataset, arguments.scale)
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(job_settings(arguments, dataset, folder / "results")))
    command = [sys.executable, "-u", "-m", "drp_ray", "run", str(job)]
    command += ["--until", arguments.until] if arguments.until else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder) as driver:
        costs = watched(driver)
    if driver.returncode != 0:
        raise SystemExit(f"the job ended with exit code {driver.returncode}")
    return costs


def watched(driver: "subprocess.Popen[str]") -> list[StageCost]:
    """The cost of every stage, by the lines that the command prints as stages end."""
    watch = Watch(psutil.Process(driver.pid))
    thread = threading.Thread(target=watch.until_end, daemon=True)
    thread.start()
    costs, began, before = list[StageCost](), time.monotonic(), dict[int, float]()
    assert driver.stdout is not None
    for line in driver.stdout:
        print(line, end="", flush=True)
        stage, _, rest = line.partition(": ")
        if " rows in " in rest and " | " not in rest:
            costs.append(watch.cost_since(stage, began, before))
            began, before = time.monotonic(), dict(watch.cpu_of)
    thread.join()
    return [*costs, watch.cost_since("end", began, before)]


def job_settings(arguments: argparse.Namespace, dataset: Path, results: Path) -> dict[str, Any]:
    """A DRP job as for Yelp, with the stand-ins."""
    stand_ins = "benchmarks.yelp_shape"
    return {
        "name": "full-yelp",
        "dataset": str(dataset),
        "root": str(results),
        "method": "drp",
        # As in jobs/yelp_drp.yaml: Yelp has neither review titles nor descriptions.
        "retrieval": {"query": ["item_title"], "document": ["item_title", "review_text"]},
        "report": False,
        "embedding": {"engine": f"{stand_ins}:HashingEmbedder", "model": "hash", "replicas": 1, "num_gpus": 0},
        "models": {"llm": {"engine": f"{stand_ins}:StubEngine", "id": f"{arguments.delay:g}", "num_gpus": 0}},
        "runtime": {"num_cpus": arguments.cpus},
    }


def keep(costs: list[StageCost], arguments: argparse.Namespace) -> None:
    """Print the figures, and put them beside those of other scales."""
    for cost in [*costs, total_of(costs)]:
        print(
            f"{cost.stage:12} {cost.seconds:8.1f} s {cost.cpu_seconds:8.1f} CPU-s, {cost.processes:3} processes begun, "
            f"driver {cost.driver_gb:.2f} GB, all {cost.all_gb:.2f} GB"
        )
    if arguments.until:
        return
    there = json.loads(arguments.results.read_text())["figures"] if arguments.results.exists() else {}
    there[f"scale {arguments.scale:g}"] = {
        "cpus_used": arguments.cpus,
        "load_average": os.getloadavg()[2],
        "delay_s": arguments.delay,
        "stages": [
            {name: value if isinstance(value, str) else round(value, 3) for name, value in asdict(cost).items()}
            for cost in [*costs, total_of(costs)]
        ],
    }
    write_result(arguments.results, there)


def total_of(costs: list[StageCost]) -> StageCost:
    """The whole job."""
    return StageCost(
        "total",
        sum(cost.seconds for cost in costs),
        sum(cost.cpu_seconds for cost in costs),
        sum(cost.processes for cost in costs),
        max(cost.driver_gb for cost in costs),
        max(cost.all_gb for cost in costs),
    )


if __name__ == "__main__":
    main()
