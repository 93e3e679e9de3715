"""A job on a cluster that grows, loses nodes, has a full object store, and at last loses its head."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from ray.cluster_utils import Cluster

from tests.end_to_end.conftest import assert_whole
from tests.faults.conftest import ROOT
from tests.faults.test_kill import WAIT_S, start, wait_for_parts

SMALLEST_STORE = 80_000_000
"""Bytes of the smallest object store that Ray makes."""

FILL = """
import sys, time, numpy, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
held = [ray.put(numpy.ones(20_000_000, numpy.uint8)) for _ in range(8)]
print("full", flush=True)
time.sleep(600)
"""


@pytest.fixture
def cluster(monkeypatch):
    """A head with one CPU and a small object store, to which nodes can be added."""
    monkeypatch.setenv("PYTHONPATH", ROOT)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": SMALLEST_STORE})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def full_object_store(cluster):
    """Somebody else holds twice as much in the head's object store as fits: Ray puts it on the disk."""
    filler = subprocess.Popen([sys.executable, "-c", FILL, cluster.address], stdout=subprocess.PIPE)
    assert filler.stdout.readline() == b"full\n"
    yield
    filler.kill()
    filler.wait()


def add_gpu(cluster: Cluster):
    return cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=SMALLEST_STORE)


def wait_for_lines(file: Path, count: int, job: subprocess.Popen) -> None:
    give_up = time.monotonic() + WAIT_S
    while len(file.read_text().splitlines()) < count:
        assert job.poll() is None, "the job ended too early"
        assert time.monotonic() < give_up
        time.sleep(0.1)


def kill_head(cluster: Cluster) -> None:
    """SIGKILL what makes a head, and what its raylet has started."""
    [gcs] = cluster.head_node.all_processes["gcs_server"]
    for info in (gcs, *cluster.head_node.all_processes["raylet"]):
        for process in [psutil.Process(info.process.pid), *psutil.Process(info.process.pid).children(recursive=True)]:
            process.kill()


def wait_for_text(file: Path, text: str) -> str:
    """What a file holds, as soon as the text is in it."""
    give_up = time.monotonic() + WAIT_S
    while text not in (found := " ".join(file.read_text().split())):
        assert time.monotonic() < give_up, found
        time.sleep(0.1)
    return found


def test_a_stage_grows_with_the_cluster_and_nothing_is_lost_with_nodes_or_the_head(
    prepared, cluster, full_object_store
):
    starts = prepared.folder / "starts"
    starts.touch()
    prepared.script(delay_s=0.5, starts=str(starts))
    prepared.settings["models"]["llm"] |= {"replicas": {"min": 1, "max": 3}, "num_gpus": 1, "concurrency": 1}
    prepared.settings["runtime"]["resources_wait_s"] = WAIT_S
    prepared.file.write_text(yaml.safe_dump(prepared.settings))
    prepared.env["RAY_ADDRESS"] = cluster.address
    folder = prepared.where("differences")
    running = start(prepared)
    try:
        first = add_gpu(cluster)
        committed = wait_for_parts(folder, 1, running)
        assert len(starts.read_text().splitlines()) == 1
        add_gpu(cluster)
        wait_for_lines(starts, 2, running)
        cluster.remove_node(first, allow_graceful=False)
        committed |= wait_for_parts(folder, len(committed) + 2, running)
        kill_head(cluster)
        assert running.wait(timeout=WAIT_S) == 1
    finally:
        running.kill()
    # Ray 2.60 may end the process itself; then somebody else says what to do.
    told = wait_for_text(prepared.folder / "output", "the same command continues")
    assert "a bug" not in told
    del prepared.env["RAY_ADDRESS"]
    prepared.settings["models"]["llm"] |= {"replicas": 1, "num_gpus": 0}
    prepared.file.write_text(yaml.safe_dump(prepared.settings))
    prepared.script()
    done = prepared.run("run")
    assert done.returncode == 0, done.stderr
    assert_whole(prepared, users=16)
    assert {name: folder.read(name) for name in committed} == committed
