"""How far a stage is: workers count, one actor adds up, and the driver prints a line at least every heartbeat."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from drp_ray.running.metrics import IN_FLIGHT

RATE_WINDOW_S = 60.0
POLL_S = 1.0

Counts = dict[str, float]
"""Rows done and failed, tokens in, cached and out, calls in flight, parts begun, and workers or parts in a phase."""

WAITING = {
    "loading": "models to load (workers: {})",
    "in_flight": "answers of models or endpoints (rows: {})",
    "committing": "storage, to commit (parts: {})",
    "reading": "storage, to read (parts: {})",
}
"""What a phase waits for, in words; the first of several that go on is named."""


class Amount(NamedTuple):
    """How much of a stage."""

    parts: int
    rows: int

    def less(self, other: "Amount") -> "Amount":
        """What is left without another amount."""
        return Amount(self.parts - other.parts, self.rows - other.rows)


@dataclass(frozen=True)
class StageProgress:
    """What a heartbeat says, computed from counts and the clock.

    `done` counts this run and those before it. `total` is None for a regrouping, which does not know it before its end.
    """

    stage: str
    total: Amount | None
    done: Amount
    counts: Mapping[str, float]
    rate_now: float
    rate_stage: float

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last row, at the stage's rate; None before the first row."""
        if self.rate_stage <= 0 or self.total is None:
            return None
        return max(self.total.rows - self.done.rows, 0) / self.rate_stage

    @property
    def waiting_for(self) -> str | None:
        """What the stage waits for while no row is finished; None while some are, or where a shuffle runs."""
        if self.rate_now > 0 or self.total is None:
            return None
        at = {
            name: int(self.counts.get(name, 0)) for name in ("begun", "loading", "in_flight", "reading", "committing")
        }
        if at["begun"] + at["loading"] <= 0:
            return "the cluster to start a worker"
        for name, words in WAITING.items():
            if at[name] > 0:
                return words.format(at[name])
        return "the work within parts"

    def line(self) -> str:
        """One line for a log."""
        counts, total = self.counts, self.total
        words = [
            f"{self.stage}: parts {done_of(self.done.parts, total.parts if total else None)}",
            f"rows {done_of(self.done.rows, total.rows if total else None)}, failed {int(counts.get('errors', 0))}",
            f"{self.rate_now:.1f} rows/s (stage {self.rate_stage:.1f})",
        ]
        if "prompt_tokens" in counts:
            words.append(
                f"tokens in {int(counts['prompt_tokens']):,} (cached {int(counts.get('cached_tokens', 0)):,}) "
                f"out {int(counts.get('completion_tokens', 0)):,}"
            )
        if IN_FLIGHT in counts:
            words.append(f"in flight {int(counts[IN_FLIGHT])}")
        words.append(f"ETA {_duration(self.eta_s)}")
        if self.waiting_for is not None:
            words.append(f"waiting for {self.waiting_for}")
        return " | ".join(words)


def done_of(done: int, total: int | None) -> str:
    """How much is done, of how much where that is known."""
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, seconds_left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds_left:02d}"


class Heartbeat:
    """Polls the monitor in a thread and shows what it says: a bar on a terminal, else a line every `heartbeat_s`."""

    def __init__(
        self,
        monitor: Any,
        stage: str,
        heartbeat_s: float,
        total: Amount | None,
        done: Amount,
    ) -> None:
        self._monitor, self._stage = monitor, stage
        self._total, self._done_before, self._parts_done = total, done, done.parts
        self._heartbeat_s = heartbeat_s
        self._began = time.monotonic()
        self._history: deque[tuple[float, float]] = deque([(self._began, 0.0)])
        self._counts: Counts = {}
        self._stopped = threading.Event()

    def part_done(self) -> None:
        """Note that a part was committed."""
        self._parts_done += 1

    def withdraw(self, left: Amount) -> None:
        """Note that so much will not be made."""
        assert self._total is not None
        self._total = self._total.less(left)

    def now(self) -> StageProgress:
        """The state of the stage."""
        since, rows_then = self._history[0]
        rows = self._counts.get("rows", 0)
        clock = time.monotonic()
        return StageProgress(
            self._stage,
            self._total,
            Amount(self._parts_done, self._done_before.rows + int(rows)),
            self._counts,
            rate_now=(rows - rows_then) / max(clock - since, 1e-9),
            rate_stage=rows / max(clock - self._began, 1e-9),
        )

    @contextmanager
    def beating(self) -> Iterator["Heartbeat"]:
        """Show progress until the block ends."""
        show = self._show_bar if sys.stdout.isatty() else self._print_lines
        thread = threading.Thread(target=show, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join(timeout=5)

    def _print_lines(self) -> None:
        last = time.monotonic()
        while not self._stopped.wait(min(POLL_S, self._heartbeat_s)):
            self._poll()
            if time.monotonic() - last >= self._heartbeat_s:
                last = time.monotonic()
                print(self.now().line(), flush=True)

    def _show_bar(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(), transient=True) as bar:
            task = bar.add_task(self._stage, total=self._total.rows if self._total else None, line="")
            while not self._stopped.wait(POLL_S):
                self._poll()
                now = self.now()
                bar.update(task, completed=now.done.rows, line=now.line().partition(": ")[2])

    def _poll(self) -> None:
        """Fetch the counts; a monitor that is slow to answer (or being shut down) leaves the last ones standing."""
        try:
            self._counts = ray.get(self._monitor.counts.remote(), timeout=min(5.0, self._heartbeat_s))
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError):
            return
        clock = time.monotonic()
        self._history.append((clock, self._counts.get("rows", 0)))
        while len(self._history) > 1 and clock - self._history[0][0] > RATE_WINDOW_S:
            self._history.popleft()
