"""Time and memory of `drp-ray data amazon` on generated raw files, and how both grow.

    python -m benchmarks.build [--sizes 1000000 10000000] [--folder DIR]

The time is that of the command line from its start to its end, Ray included. The memory is the most that the command
and all its child processes held at once, shared pages counted once (PSS); the sum of their resident sizes, which counts
shared pages for every process, stands beside it. The growth is compared with that of n log n.
"""

import argparse
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.raw_reviews import write_raw

GIB = 1 << 30
POLL_S = 0.5


def main() -> None:
    """Generate, build and measure every size; print the growth last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="where generated files are kept for another run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        seconds = [measure(folder / str(size), size) for size in arguments.sizes]
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load {os.getloadavg()}")
    (small, *_, large), (quick, *_, slow) = arguments.sizes, seconds
    allowed = large * math.log(large) / (small * math.log(small))
    print(f"{small:,} to {large:,} reviews: {slow / quick:.2f} times the time; n log n allows {allowed:.2f}")


def measure(folder: Path, size: int) -> float:
    """Build a dataset of so many raw reviews; the seconds that it took."""
    if not (folder / "meta.jsonl.gz").exists():
        began = time.monotonic()
        write_raw(folder, size)
        print(f"generated {size:,} reviews in {time.monotonic() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        inputs = ["--reviews", str(folder / "reviews.jsonl.gz"), "--meta", str(folder / "meta.jsonl.gz")]
        command = [sys.executable, "-m", "drp_ray", "data", "amazon", *inputs, "--out", f"{out}/dataset"]
        began = time.monotonic()
        running = subprocess.Popen(command)
        peak = PeakMemory(running.pid)
        if running.wait():
            raise SystemExit(running.returncode)
        seconds = time.monotonic() - began
        pss, rss = peak.stop()
    told = f"{pss / GIB:.2f} GiB at most (resident sizes added up: {rss / GIB:.2f} GiB)"
    print(f"{size:,} reviews: {seconds:.1f} s, {told}", flush=True)
    return seconds


class PeakMemory:
    """Watches a process and its children."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._peak = (0, 0)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        """The most bytes at once: shared pages counted once, and resident sizes added up."""
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_S):
            now = [0, 0]
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for member in family:
                try:
                    memory = member.memory_full_info()
                except psutil.Error:  # ended since it was listed
                    continue
                now[0] += memory.pss
                now[1] += memory.rss
            self._peak = (max(self._peak[0], now[0]), max(self._peak[1], now[1]))


if __name__ == "__main__":
    main()
