"""Workers that have loaded what later stages need, and wait for them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ray

from drp_ray.running.worker import Pool

CLOSING_S = 20.0
"""How long a worker has to free its models once all parts have ended."""

LOADING_S = 300.0
"""How long a worker that loads ahead may go on with it before others load something else in its place."""


class Held(NamedTuple):
    """What a worker has loaded, and on what; stages for which it is equal share workers."""

    loads: Any
    pool: Pool


class Standby:
    """Actors that have loaded the same, or are about to, and wait. They keep their places in the cluster."""

    def __init__(self) -> None:
        self._held: Held | None = None
        self._actors: list[Any] = []
        self._num_cpus = 0.0
        self._is_ahead = False

    @property
    def is_empty(self) -> bool:
        """Whether none waits."""
        return not self._actors

    @property
    def num_cpus(self) -> float:
        """CPUs that each of them takes."""
        return self._num_cpus

    def add(self, held: Held, actors: Sequence[Any], num_cpus: float, is_ahead: bool = False) -> None:
        """Let actors wait that hold this and take so many CPUs; `take` has dismissed those that held anything else.

        Those that are `is_ahead` may still be loading.
        """
        self._held, self._actors = held, [*self._actors, *actors]
        self._num_cpus, self._is_ahead = num_cpus, is_ahead

    def take(self, held: Held | None) -> list[Any]:
        """The actors that hold this, which are not waiting any more. Those that hold anything else are dismissed."""
        if held != self._held:
            # What is loaded next may need the memory: an engine that is killed while it starts gives it back late.
            free_and_end(self._actors, LOADING_S if self._is_ahead else CLOSING_S)
            self._actors = []
        taken, self._actors = self._actors, []
        return taken

    def leave_room(self) -> None:
        """Dismiss all where they would leave no CPU for work without a model."""
        taken = len(self._actors) * self._num_cpus
        if taken and ray.cluster_resources().get("CPU", 0) - taken < 1:
            self.dismiss()

    def dismiss(self) -> None:
        """Let all that wait free what they hold, and end them; at once where they may still be loading."""
        if self._is_ahead:
            self.kill()
        actors, self._actors = self._actors, []
        free_and_end(actors)

    def kill(self) -> None:
        """End all that wait at once."""
        actors, self._actors = self._actors, []
        for actor in actors:
            ray.kill(actor)


def free_and_end(actors: Sequence[Any], within_s: float = CLOSING_S) -> None:
    """Let actors that have no work free what they hold, and end them."""
    freed = [actor.free.remote() for actor in actors]
    if freed:
        ray.wait(freed, num_returns=len(freed), timeout=within_s)
    for actor in actors:
        ray.kill(actor)
