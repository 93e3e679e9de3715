"""A submitted job, its reviews by the real engine, on a head that was started for it and asks for a token."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.conftest import JOB_TIMEOUT_S, assert_whole
from tests.faults.conftest import ROOT, ScriptedJob

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
    environment["PYTHONPATH"] = ROOT  # where the scripted engine is found
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
    token = {"Authorization": f"Bearer {environment['RAY_AUTH_TOKEN']}"}
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}/api/jobs/", headers=token), timeout=5).close()
            return
        except OSError as error:
            assert time.monotonic() < give_up, f"the head did not come up: {error}"
            time.sleep(0.2)


def submit(address: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--address", address, "--working-dir", str(folder), "--"]
    command += [sys.executable, "-m", "drp_ray", "run", "job.yaml"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=JOB_TIMEOUT_S)


def test_a_submitted_job_runs_on_the_cluster_and_says_so_in_its_log(tmp_path, sample, settings, head):
    address, environment = head
    folder = tmp_path / "submitted"
    folder.mkdir()
    job = ScriptedJob(
        folder,
        sample,
        root=str(tmp_path / "results"),
        runtime={"rows_per_part": 8},
        sampling={"max_tokens": 24},
        models={
            "real": settings["models"]["llm"],
            "scripted": {"engine": "tests.fakes:ScriptedEngine", "id": str(folder / "script")},
        },
        roles={"extractor": "scripted", "validator": "scripted", "summarizer": "real", "generator": "real"},
    )

    refused = submit(address, {**environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)}, folder)
    assert refused.returncode != 0
    assert not (tmp_path / "results").exists()

    done = submit(address, environment, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(job, users=16)
    assert "predictions: 16 rows" in done.stdout
    assert yaml.safe_load(job.file.read_text())["name"] in done.stdout
