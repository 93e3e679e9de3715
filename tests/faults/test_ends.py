"""A job that is stopped within a shuffle ends as anywhere else, and none of its processes outlives it for long."""

import os
import signal
import subprocess
import time

import psutil

WITHIN_S = 10


def test_a_signal_within_a_shuffle_stops_the_job_and_all_its_processes(scripted):
    log = scripted.folder / "output"
    with log.open("w") as output:
        command = scripted.command("run", "--until", "items", "--set", "runtime.heartbeat_s=0.1")
        job = subprocess.Popen(command, env=scripted.env, cwd=scripted.folder, stdout=output, stderr=subprocess.STDOUT)
    give_up = time.monotonic() + 300
    while "items: parts" not in log.read_text():
        assert job.poll() is None and time.monotonic() < give_up, log.read_text()
        time.sleep(0.05)
    family = psutil.Process(job.pid).children(recursive=True)
    began = time.monotonic()
    os.kill(job.pid, signal.SIGINT)
    assert job.wait(timeout=60) == 130
    ended_s = time.monotonic() - began
    _, alive = psutil.wait_procs(family, timeout=WITHIN_S)
    assert alive == [] and "Traceback" not in log.read_text(), ended_s
    assert "stopped by SIGINT; the same command continues" in log.read_text()
    assert [entry.name for entry in scripted.where("items").entries() if entry.name == "lease.json"] == []
