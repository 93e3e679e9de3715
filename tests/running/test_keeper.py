"""Whatever ends a job, none of its processes is left ten seconds later."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from drp_ray.running import keeper
from drp_ray.running.keeper import Keeper, processes_of

WITHIN_S = 10
DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
file = open(sys.argv[1], sys.argv[2])
print("open", flush=True)
time.sleep(600)
"""
DRIVER = """
import ray
from drp_ray.running.cluster import connect

@ray.remote
def work():
    import time
    print("working", flush=True)
    time.sleep(600)

with connect(1) as ray:
    print("started", flush=True)
    task = work.remote()
    ray.get(task)
"""


def deaf(file, mode) -> subprocess.Popen:
    """A process that has a file open and hears no SIGTERM."""
    process = subprocess.Popen([sys.executable, "-c", DEAF, str(file), mode], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"open\n"
    process.stdout.close()
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="the keeper is for Linux")
def test_writers_of_the_sessions_folder_are_ended_and_readers_are_not(tmp_path):
    here = os.getpid()
    names = (f"session_2026-01-02_{here}", f"session_2026-01-03_{here}", f"session_2026-01-02_1{here}")
    log, next_log, other = (tmp_path / name / "log" for name in names)
    for file in (log, next_log, other):
        file.parent.mkdir()
        file.write_text("")
    writer, reader, following, stranger = deaf(log, "a"), deaf(log, "r"), deaf(next_log, "a"), deaf(other, "a")
    try:
        assert {process.pid for process in processes_of(here)} == {writer.pid, following.pid}
        Keeper().release(str(log.parent))
        assert writer.wait(timeout=WITHIN_S) == -signal.SIGKILL
        assert [process.poll() for process in (reader, following, stranger)] == [None] * 3
    finally:
        for process in (writer, reader, following, stranger):
            process.kill()
            process.wait()


def test_a_keeper_leaves_alone_what_ends_by_itself(monkeypatch):
    killed = []
    monkeypatch.setattr(psutil.Process, "send_signal", lambda process, number: killed.append(process.pid))
    left = iter([[psutil.Process()], [], []])
    monkeypatch.setattr(keeper, "processes_of", lambda driver, session: next(left))
    keeper.end_processes_of(0)
    assert killed == []


@pytest.mark.skipif(sys.platform != "linux", reason="the keeper is for Linux")
def test_nothing_of_ours_is_left_after_a_driver_was_killed():
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert driver.stdout.readline() == "started\n"
    give_up = time.monotonic() + 60
    while len(list(processes_of(driver.pid))) < 4 and time.monotonic() < give_up:
        time.sleep(0.2)
    family = psutil.Process(driver.pid).children(recursive=True)
    assert any("raylet" in process.name() for process in family)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=WITHIN_S)
    assert alive == []
