"""Ends what is left of a Ray once the process that started it is gone, however that ended.

Ray 2.60 ends its own processes when its driver exits. Where the driver is killed, or the machine is busy, agents and
workers stayed for up to a minute. A keeper is a small process of its own, which waits for the end of a pipe that only
the driver holds. Ray's processes are known by their logs: they have files of Ray's session open for writing.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

GRACE_S = 3.0
"""How long Ray has to end by itself."""

PATIENCE_S = 15.0
POLL_S = 0.25


_kept: list[subprocess.Popen[bytes]] = []


class Keeper:
    """The keeper of one Ray, on Linux; elsewhere there is none."""

    def __init__(self, session: str) -> None:
        """Keep the Ray whose session's folder this is, until `release` or until this process is gone."""
        if sys.platform != "linux":
            return
        # A session of its own: what a terminal sends to stop the driver is not meant for the keeper.
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, session, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        _kept.append(process)  # else the pipe would be closed with this object

    def release(self) -> None:
        """Say that Ray was shut down: what is left of it may be ended now."""
        for process in _kept:
            if process.stdin is not None:
                process.stdin.close()
        _kept.clear()


def writers_below(folder: str, but: int) -> Iterator[psutil.Process]:
    """The processes of this user, except `but`, that have a file below a folder open for writing."""
    inside = f"{Path(folder).resolve()}/"
    for process in psutil.process_iter():
        try:
            if process.pid not in (but, os.getpid()) and any(
                opened.path.startswith(inside) and opened.mode != "r" for opened in process.open_files()
            ):
                yield process
        except (psutil.Error, OSError):  # it ended meanwhile, or is of another user
            continue


def end_writers(folder: str, but: int) -> None:
    """Give the writers of a folder, except the process `but`, some time to end, then kill them."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        left = list(writers_below(folder, but))
        if not left:
            return
        for process in left if time.monotonic() - began > GRACE_S else ():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_writers(sys.argv[1], but=int(sys.argv[2]))  # the driver may go on after its Ray
