"""The quickstart's shape as a submitted job, on a head that was started for it and asks for a token."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.conftest import JOB_TIMEOUT_S, Job, assert_whole

RAY = str(Path(sys.executable).with_name("ray"))
START_TIMEOUT_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def head(tmp_path_factory):
    """The dashboard's address of a running head, and the environment that may talk to it."""
    port, dashboard = free_port(), free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # Sockets of Ray have long names: a folder of pytest's own would make them too long.
    log = (tmp_path_factory.mktemp("head") / "log").open("w")
    # The agent's usual port belongs to the Ray that other tests run in this process.
    ports = [f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}"]
    started = subprocess.Popen(
        [RAY, "start", "--head", "--block", *ports, "--num-cpus=2"],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        wait_for_jobs(address, environment)
        yield address, environment
    finally:
        os.killpg(started.pid, signal.SIGKILL)  # SIGTERM takes half a minute
        started.wait(timeout=60)


def wait_for_jobs(address: str, environment: dict[str, str]) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up:
        asked = subprocess.run(
            [RAY, "job", "list", "--address", address], env=environment, capture_output=True, text=True
        )
        if asked.returncode == 0:
            return
        time.sleep(1)
    raise AssertionError(f"the head did not come up: {asked.stderr}")


def submit(address: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--address", address, "--working-dir", str(folder), "--"]
    command += [sys.executable, "-m", "drp_ray", "run", "job.yaml"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=JOB_TIMEOUT_S)


def test_a_submitted_job_runs_on_the_cluster_and_says_so_in_its_log(tmp_path, settings, head):
    address, environment = head
    folder = tmp_path / "submitted"
    folder.mkdir()
    runtime = {key: value for key, value in settings["runtime"].items() if key != "num_cpus"}
    job = Job(folder, {**settings, "root": str(tmp_path / "results"), "runtime": runtime})

    refused = submit(address, {**environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)}, folder)
    assert refused.returncode != 0
    assert not (tmp_path / "results").exists()

    done = submit(address, environment, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(job, users=16)
    assert "predictions: 16 rows" in done.stdout
    assert yaml.safe_load(job.file.read_text())["name"] in done.stdout
