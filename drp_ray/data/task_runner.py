"""Runs a function on every one of some tasks: as tasks of Ray Data, or one after the other in this process."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from drp_ray.running.cluster import Say, connect

REPORT_EVERY_S = 15.0

Task = dict[str, Any]
"""What one call of the function is given, and what it yields: plain values by name."""
Work = Callable[..., Iterable[Task]]


@dataclass(frozen=True)
class TaskRunner:
    """`run(tasks, work, arguments)` calls `work(task, **arguments)` and yields what all calls yield, in any order."""

    cpus: int
    run: Callable[[Sequence[Task], Work, Mapping[str, Any]], Iterable[Task]]


OpenRunner = Callable[[int | None], AbstractContextManager[TaskRunner]]


@contextmanager
def on_ray(num_cpus: int | None) -> Iterator[TaskRunner]:
    """Tasks of Ray Data, on the cluster or on a Ray that is started here with so many CPUs."""
    with connect(num_cpus) as ray:
        yield TaskRunner(max(1, int(ray.cluster_resources().get("CPU", 1))), _run_on_ray)


def _run_on_ray(tasks: Sequence[Task], work: Work, arguments: Mapping[str, Any]) -> Iterable[Task]:
    from drp_ray.running.blocks import one_block_each

    if not tasks:
        return []
    results: Iterable[Task] = one_block_each(tasks).flat_map(work, fn_kwargs=dict(arguments)).iter_rows()
    return results


@contextmanager
def in_this_process(_: int | None = None) -> Iterator[TaskRunner]:
    """One task after the other in this process, for what is too small for a cluster."""
    yield TaskRunner(1, _run_in_this_process)


def _run_in_this_process(tasks: Sequence[Task], work: Work, arguments: Mapping[str, Any]) -> Iterable[Task]:
    for task in tasks:
        yield from work(task, **arguments)


class Progress:
    """Says how far something is, at most every `REPORT_EVERY_S` seconds."""

    def __init__(self, what: str, say: Say) -> None:
        self._what, self._say, self._said_at = what, say, time.monotonic()

    def report(self, how_far: str) -> None:
        """Say how far it is, unless that was said a short while ago."""
        if time.monotonic() - self._said_at >= REPORT_EVERY_S:
            self._said_at = time.monotonic()
            self._say(f"{self._what}: {how_far}")
