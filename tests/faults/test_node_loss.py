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


def test_a_lost_node_costs_time_but_no_row(scripted, cluster):
    scripted.script(delay_s=0.5)
    scripted.settings["models"]["llm"] |= {"replicas": 2, "concurrency": 1}
    scripted.settings["runtime"] |= {"rows_per_part": 2}
    scripted.file.write_text(json.dumps(scripted.settings))
    lost = cluster.add_node(num_cpus=1)
    scripted.env["RAY_ADDRESS"] = cluster.address
    folder = scripted.where("differences")
    running = start(scripted)
    try:
        committed = wait_for_parts(folder, 3, running)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        assert running.wait(timeout=JOB_TIMEOUT_S) == 0, (scripted.folder / "output").read_text()
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    assert_whole(scripted, users=16)
    assert {name: folder.read(name) for name in committed} == committed
