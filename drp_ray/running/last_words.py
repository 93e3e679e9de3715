"""Speaks for a driver that ends without a word, as Ray 2.60's native code ends one when the head of its cluster goes.

A small process of its own waits for the end of a pipe that only the driver holds. A driver that ends by itself says so
through the pipe first.
"""

import atexit
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

SPOKEN = b"spoken"

LINE = (
    "drp-ray: the process that ran the job ended without a word, as it does when it is killed or the head of Ray's "
    "cluster goes. What was committed stays, and the same command continues where there is a Ray\n"
)


def be_spoken_for() -> Callable[[], None]:
    """Have a line said on standard error, should this process end in a way that Python does not notice.

    What comes back ends that; a process that ends by itself does so too.
    """
    # A session of its own: what a terminal sends to stop the driver is not meant for it.
    speaker = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )

    def dismiss() -> None:
        atexit.unregister(dismiss)
        with suppress(BrokenPipeError):  # somebody ended the speaker
            speaker.communicate(SPOKEN)

    atexit.register(dismiss)
    return dismiss


if __name__ == "__main__":
    if sys.stdin.buffer.read() != SPOKEN:
        sys.stderr.write(LINE)
