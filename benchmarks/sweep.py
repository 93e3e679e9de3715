"""Starts of models and seconds of a sweep, over the same runs one by one.

    python -m benchmarks.sweep [--users 8] [--methods nonperso rag …] [--temperatures 0 0.2 0.4 0.6 0.8]
                               [--one-by-one 8] [--out FILE]

Every method at every temperature, on the generated sample, with a real vLLM on the tiny model: once as `drp-ray sweep`
and once as `drp-ray run` for run after run, which share what the sweep's runs share (their folders), each side into a
fresh folder. Of the runs one by one only `--one-by-one` are made, spread evenly over all; the time of all is reckoned
from them: the first makes what the others share, and counts once.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.llm_stage import QUICKSTART
from benchmarks.record import RESULTS, write_result
from drp_ray.data.sample_files import write_sample
from drp_ray.data.tiny_model import build_tiny_model
from drp_ray.engines.vllm import VllmEngine
from drp_ray.methods.base import METHODS
from drp_ray.storage.folder import LocalFolder

LOG = "DRP_RAY_BENCHMARK_STARTS"


class CountedEngine(VllmEngine):
    """vLLM that writes down every start."""

    async def start(self) -> None:
        """Load the model."""
        with Path(os.environ[LOG]).open("a") as log:
            log.write("started\n")
        await super().start()


def main() -> None:
    """Measure, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--methods", nargs="+", default=sorted(METHODS))
    parser.add_argument("--temperatures", nargs="+", type=float, default=[0.0, 0.2, 0.4, 0.6, 0.8])
    parser.add_argument("--one-by-one", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS / "sweep.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_sample(LocalFolder(folder / "sample"), arguments.users, seed=0)
        build_tiny_model(folder / "model")
        figures = measure(arguments, folder)
    write_result(arguments.out, figures)
    for name, figure in figures.items():
        print(f"{name:32} {figure:,.2f}" if isinstance(figure, float) else f"{name:32} {figure}")


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The figures of the sweep, of runs one by one, and their ratio."""
    swept = {"method": arguments.methods, "sampling": {"max_tokens": 32, "temperature": arguments.temperatures}}
    sweep_s, sweep_starts = timed(folder, "sweep", settings_of(folder, "swept") | swept)
    runs = [
        {
            "name": f"{method}-{temperature:g}",
            "method": method,
            "sampling": {"max_tokens": 32, "temperature": temperature},
        }
        for temperature in arguments.temperatures
        for method in arguments.methods
    ]
    step = max(1, len(runs) // arguments.one_by_one)
    alone = [timed(folder, "run", settings_of(folder, "one-by-one") | run) for run in runs[::step]]
    later = [seconds for seconds, _ in alone[1:]]
    reckoned_s = alone[0][0] + statistics.fmean(later) * (len(runs) - 1)
    return {
        "runs": len(runs),
        "sweep_s": sweep_s,
        "sweep_starts": sweep_starts,
        "runs_one_by_one": len(alone),
        "first_of_them_s": alone[0][0],
        "each_later_s": statistics.fmean(later),
        "starts_of_each_later": statistics.fmean(starts for _, starts in alone[1:]),
        "all_one_by_one_reckoned_s": reckoned_s,
        "ratio": reckoned_s / sweep_s,
    }


def settings_of(folder: Path, root: str) -> dict[str, Any]:
    """The quickstart with the counted engine, without a report."""
    settings: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"dataset": str(folder / "sample"), "root": str(folder / root), "report": False}
    settings["models"]["llm"] |= {"engine": "benchmarks.sweep:CountedEngine", "id": str(folder / "model")}
    settings["evaluation"] = {}
    return settings


def timed(folder: Path, command: str, settings: dict[str, Any]) -> tuple[float, int]:
    """Seconds of a command from its start to its end, and how often it started the model."""
    job, log = folder / f"{command}.yaml", folder / "starts"
    log.write_text("")
    job.write_text(yaml.safe_dump(settings))
    environment = {**os.environ, LOG: str(log), "PYTHONPATH": str(Path(__file__).parents[1])}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "drp_ray", command, str(job)], check=False, env=environment, capture_output=True
    )
    seconds = time.monotonic() - began
    if done.returncode not in (0, 3):  # 3: the tiny model's noise makes error rows
        raise SystemExit(f"{command} ended with exit code {done.returncode}: {done.stderr.decode()[-2000:]}")
    return seconds, len(log.read_text().splitlines())


if __name__ == "__main__":
    main()
