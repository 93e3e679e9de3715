"""Whatever ends a job, none of its processes is left ten seconds later."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from drp_ray.running import keeper
from drp_ray.running.keeper import Keeper, writers_below

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
    print(ray._private.worker._global_node.get_session_dir_path(), flush=True)
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
    (tmp_path / "log").write_text("")
    writer, reader = deaf(tmp_path / "log", "a"), deaf(tmp_path / "log", "r")
    try:
        assert [process.pid for process in writers_below(str(tmp_path), but=0)] == [writer.pid]
        assert list(writers_below(str(tmp_path), but=writer.pid)) == []
        Keeper(str(tmp_path)).release()
        assert writer.wait(timeout=WITHIN_S) == -signal.SIGKILL
        assert reader.poll() is None
    finally:
        for process in (writer, reader):
            process.kill()
            process.wait()


def test_a_keeper_leaves_alone_what_ends_by_itself(tmp_path, monkeypatch):
    killed = []
    monkeypatch.setattr(psutil.Process, "send_signal", lambda process, number: killed.append(process.pid))
    left = iter([[psutil.Process()], []])
    monkeypatch.setattr(keeper, "writers_below", lambda folder, but: next(left))
    keeper.end_writers(str(tmp_path), but=0)
    assert killed == []


@pytest.mark.skipif(sys.platform != "linux", reason="the keeper is for Linux")
def test_nothing_of_ours_is_left_after_a_driver_was_killed():
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    session = driver.stdout.readline().strip()
    give_up = time.monotonic() + 60
    while len(list(writers_below(session, but=driver.pid))) < 4 and time.monotonic() < give_up:
        time.sleep(0.2)
    family = psutil.Process(driver.pid).children(recursive=True)
    assert any("raylet" in process.name() for process in family)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=WITHIN_S)
    assert alive == []
