"""Kills the drivers of runs with SIGKILL at random moments, again and again, and counts what that cost.

    python -m benchmarks.soak --kills 100 --seed 0

The job is the embedded sample with an engine of the tests, which writes a line for every call. Most drivers have a Ray
of their own, of which every process must be gone within ten seconds of the kill. One in five works on a cluster of
two nodes; there a worker node is killed first, and another one added. A run that is complete is compared with what was
committed at each kill, and another one begins. One line at the end has what happened.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from ray.cluster_utils import Cluster

from drp_ray.data.sample_files import write_sample
from drp_ray.job.job import Job
from drp_ray.job.verify import verify
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import is_sound, read_part, read_whole_manifest

ROOT = Path(__file__).parents[1]
USERS = 24
GONE_WITHIN_S = 10.0
LONGEST_LIFE_S = 20.0
"""A driver is killed at a random moment of this time, which grows by half where a life brought the run no further."""

ON_CLUSTER = 0.2
"""The share of lives on a cluster that loses a node."""

PART_STAGES = ("retrieved", "embeddings", "comparisons", "differences", "predictions", "scores")


@dataclass
class Outcome:
    """What the kills cost."""

    runs: int = 0
    kills: int = 0
    nodes_killed: int = 0
    ended_early: int = 0
    stages_hit: Counter[str] = field(default_factory=Counter)
    processes_left: int = 0
    parts_changed: int = 0
    unreadable: int = 0
    lost: int = 0
    doubled: int = 0
    extra_calls: int = 0

    def line(self) -> str:
        """One line for a table."""
        return (
            f"driver killed {self.kills} times in {self.runs} runs (in {dict(self.stages_hit)}; {self.ended_early} "
            f"starts ended before), worker node killed and another added {self.nodes_killed} times, "
            f"rows lost {self.lost}, doubled {self.doubled}, committed parts changed {self.parts_changed}, "
            f"unreadable files {self.unreadable}, processes left after {GONE_WITHIN_S:g} s {self.processes_left}, "
            f"extra calls {self.extra_calls}"
        )

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled, changed or left."""
        return not (self.lost or self.doubled or self.parts_changed or self.unreadable or self.processes_left)


def write_job(folder: Path) -> Path:
    """A job whose engine and embedder are those of the tests."""
    folder.mkdir()
    write_sample(LocalFolder(folder / "data"), USERS, seed=1)
    (folder / "script").write_text(json.dumps({"log": str(folder / "calls"), "delay_s": 0.1}))
    (folder / "calls").touch()
    job: dict[str, Any] = {
        "name": "soak",
        "dataset": str(folder / "data"),
        "root": str(folder / "results"),
        "method": "drp",
        "report": False,
        "embedding": {
            "engine": "tests.fakes:HashEmbedder",
            "model": str(folder / "embedded"),
            "replicas": 1,
            "num_gpus": 0,
        },
        "models": {"llm": {"engine": "tests.fakes:ScriptedEngine", "id": str(folder / "script"), "concurrency": 4}},
        "runtime": {"rows_per_part": 4, "heartbeat_s": 1, "num_cpus": 2, "lease_ttl_s": 5},
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


def start(file: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start the job, or what is left of it."""
    environment = {**os.environ, **environment}
    with (file.parent / "output").open("ab") as output:
        command = [sys.executable, "-m", "drp_ray", "run", str(file)]
        return subprocess.Popen(command, cwd=file.parent, env=environment, stdout=output, stderr=subprocess.STDOUT)


def kill(driver: subprocess.Popen[bytes]) -> int:
    """SIGKILL; how many of the processes that it had started are there ten seconds later."""
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _, alive = psutil.wait_procs(family, timeout=GONE_WITHIN_S)
    return len(alive)


def committed_parts(job: Job) -> dict[tuple[str, str], bytes]:
    """The files of all parts that are made one by one."""
    found = {}
    for stage in PART_STAGES:
        folder = job.folder(stage)
        for entry in folder.entries():
            if entry.name.startswith("part-"):
                found[stage, entry.name] = folder.read(entry.name)
    return found


def stage_at_work(job: Job) -> str:
    """The first stage that is not done."""
    return next((name for name in job.opened.plan.stages if not _is_done(job, name)), "none")


def _is_done(job: Job, name: str) -> bool:
    manifest = read_whole_manifest(job.folder(name))
    return manifest is not None and manifest.is_done


def has_ended(driver: subprocess.Popen[bytes], within_s: float) -> bool:
    """Wait for a driver's end."""
    try:
        driver.wait(timeout=within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def live(file: Path, life_s: float) -> subprocess.Popen[bytes]:
    """A driver that has lived for so long with a Ray of its own, or has ended before."""
    driver = start(file)
    has_ended(driver, life_s)
    return driver


def live_on_cluster(file: Path, life_s: float, outcome: Outcome, cluster: Cluster) -> subprocess.Popen[bytes]:
    """The same on a cluster, of which a worker node goes meanwhile and another one comes."""
    node = cluster.add_node(num_cpus=1)
    driver = start(file, RAY_ADDRESS=cluster.address)
    if not has_ended(driver, life_s / 2):
        cluster.remove_node(node, allow_graceful=False)
        outcome.nodes_killed += 1
        cluster.add_node(num_cpus=1)
        has_ended(driver, life_s / 2)
    return driver


def disturb(file: Path, kills: int, chance: random.Random, outcome: Outcome) -> dict[tuple[str, str], bytes]:
    """Start and kill until there were so many kills, or the run is complete; what was committed meanwhile."""
    kept, job, longest_s = dict[tuple[str, str], bytes](), Job.open(file), LONGEST_LIFE_S
    while outcome.kills < kills and stage_at_work(job) != "none":
        at_work_before, life_s = stage_at_work(job), chance.uniform(0, longest_s)
        if chance.random() < ON_CLUSTER:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
            try:
                end(live_on_cluster(file, life_s, outcome, cluster), job, outcome)
            finally:
                cluster.shutdown()
        else:
            end(live(file, life_s), job, outcome)
        now = committed_parts(job)
        outcome.parts_changed += sum(kept[part] != data for part, data in now.items() if part in kept)
        outcome.parts_changed += len(kept.keys() - now.keys())
        outcome.unreadable += sum(not is_sound(job.folder(stage), name) for stage, name in now)
        is_further = len(now) > len(kept) or stage_at_work(job) != at_work_before
        kept, longest_s = now, LONGEST_LIFE_S if is_further else 1.5 * longest_s
        print(f"{outcome.kills} kills, now in {stage_at_work(job)}: {len(now)} parts are there", flush=True)
    return kept


def end(driver: subprocess.Popen[bytes], job: Job, outcome: Outcome) -> None:
    """Kill a driver, unless it has ended."""
    if driver.poll() is not None:
        outcome.ended_early += 1
        return
    outcome.stages_hit[stage_at_work(job)] += 1
    outcome.processes_left += kill(driver)
    outcome.kills += 1


def finish(file: Path, outcome: Outcome, kept: dict[tuple[str, str], bytes]) -> None:
    """Complete the run and see what it holds."""
    if start(file).wait() != 0:
        raise SystemExit(f"the run could not be completed; see {file.parent / 'output'}")
    job = Job.open(file)
    now = committed_parts(job)
    outcome.parts_changed += sum(now.get(part) != data for part, data in kept.items())
    outcome.unreadable += len(verify(job.opened, deep=True))
    for stage in ("users", "retrieved", "contexts", "predictions", "scores"):
        users = Counter(user for name in _parts(job, stage) for user in _users(job, stage, name))
        outcome.lost += USERS - len(users)
        outcome.doubled += sum(users.values()) - len(users)
    calls = Counter((file.parent / "calls").read_text().split())
    outcome.extra_calls += sum(calls.values()) - len(calls)
    outcome.runs += 1


def _parts(job: Job, stage: str) -> list[str]:
    manifest = read_whole_manifest(job.folder(stage))
    return [part.name for part in manifest.parts] if manifest is not None else []


def _users(job: Job, stage: str, name: str) -> list[str]:
    users: list[str] = read_part(job.folder(stage), name).rows["user_id"].to_pylist()
    return users


def main() -> None:
    """Run as many kills as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began, chance, outcome = time.monotonic(), random.Random(arguments.seed), Outcome()
    os.environ["PYTHONPATH"] = str(ROOT)  # for nodes of clusters too
    with tempfile.TemporaryDirectory() as folder:
        while outcome.kills < arguments.kills:
            file = write_job(Path(folder) / f"run-{outcome.runs}")
            finish(file, outcome, disturb(file, arguments.kills, chance, outcome))
            print(f"so far: {outcome.line()}", flush=True)
    print(f"{outcome.line()}; {time.monotonic() - began:,.0f} s")
    raise SystemExit(0 if outcome.is_good else 1)


if __name__ == "__main__":
    main()
