"""A cluster of two nodes loses one while a stage runs there, and gets another."""

import json
import subprocess

import pytest
from ray.cluster_utils import Cluster

from tests.end_to_end.conftest import JOB_TIMEOUT_S, assert_whole
from tests.faults.conftest import ROOT
from tests.faults.test_kill import start, wait_for_parts


@pytest.fixture
def cluster(monkeypatch):
    """A head with one CPU, to which nodes can be added."""
    monkeypatch.setenv("PYTHONPATH", ROOT)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


def test_a_lost_node_costs_time_but_no_row(prepared, cluster):
    prepared.script(delay_s=0.5)
    prepared.settings["models"]["llm"] |= {"replicas": 2, "concurrency": 1}
    prepared.file.write_text(json.dumps(prepared.settings))
    lost = cluster.add_node(num_cpus=1)
    prepared.env["RAY_ADDRESS"] = cluster.address
    folder = prepared.where("differences")
    running = start(prepared)
    try:
        committed = wait_for_parts(folder, 3, running)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        assert running.wait(timeout=JOB_TIMEOUT_S) == 0, (prepared.folder / "output").read_text()
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    assert_whole(prepared, users=16)
    assert {name: folder.read(name) for name in committed} == committed
