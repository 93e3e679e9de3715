"""Ends what is left of a Ray once the process that started it is gone, however that ended.

Ray 2.60 ends its own processes when its driver exits. Where the driver is killed, or the machine is busy, agents and
workers stayed for up to a minute. A keeper is a small process of its own, which waits for the end of a pipe that only
the driver holds. Ray's processes are known by their logs: they have files of Ray's session open for writing, in a
folder whose name ends with the number of the driver.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

GRACE_S = 2.0
"""How long Ray has to end by itself."""

PATIENCE_S = 15.0
POLL_S = 0.25


_kept: list[subprocess.Popen[bytes]] = []


class Keeper:
    """The keeper of the Ray that this process is about to start, on Linux; elsewhere there is none."""

    def __init__(self) -> None:
        """Wait for `release`, or for the end of this process."""
        if sys.platform != "linux":
            return
        # A session of its own: what a terminal sends to stop the driver is not meant for the keeper.
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        _kept.append(process)  # else the pipe would be closed with this object

    def release(self, session: str) -> None:
        """Say that the Ray with this session's folder was shut down: what is left of it may be ended now.

        The same driver may start another one at once, which is none of this keeper's business.
        """
        for process in _kept:
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # somebody ended the keeper
                    process.stdin.write(Path(session).name.encode())
                    process.stdin.close()
        _kept.clear()


def processes_of(driver: int, session: str = "") -> Iterator[psutil.Process]:
    """The processes of this user, except the driver, that write to files of a session of its Ray, or of any."""
    of_session = re.compile(rf"/{re.escape(session)}/" if session else rf"/session_[\d_-]+_{driver}/")
    for process in psutil.process_iter():
        try:
            if process.pid not in (driver, os.getpid()) and any(
                of_session.search(opened.path) and opened.mode != "r" for opened in process.open_files()
            ):
                yield process
        except (psutil.Error, OSError):  # it ended meanwhile, or is of another user
            continue


def end_processes_of(driver: int, session: str = "") -> None:
    """Give the processes of a driver's Ray some time to end, then kill them. The driver may go on after its Ray."""
    began, times_none = time.monotonic(), 0
    while times_none < 2 and time.monotonic() - began < PATIENCE_S:  # one that just started has no log yet
        left = list(processes_of(driver, session))
        times_none = 0 if left else times_none + 1
        for process in left if time.monotonic() - began > GRACE_S else ():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        time.sleep(POLL_S)


if __name__ == "__main__":
    end_processes_of(int(sys.argv[1]), sys.stdin.buffer.read().decode())
