"""Workers that have loaded what later stages need, and wait for them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ray

from drp_ray.running.worker import Pool

CLOSING_S = 20.0
"""How long a worker has to free its models once all parts have ended."""


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

    @property
    def is_empty(self) -> bool:
        """Whether none waits."""
        return not self._actors

    def add(self, held: Held, actors: Sequence[Any], num_cpus: float) -> None:
        """Let actors wait that hold this and take so many CPUs; `take` has dismissed those that held anything else."""
        self._held, self._actors, self._num_cpus = held, [*self._actors, *actors], num_cpus

    def take(self, held: Held | None) -> list[Any]:
        """The actors that hold this, which are not waiting any more. Those that hold anything else are dismissed."""
        if held != self._held:
            self.dismiss()
        taken, self._actors = self._actors, []
        return taken

    def leave_room(self) -> None:
        """Dismiss all where they would leave no CPU for work without a model."""
        taken = len(self._actors) * self._num_cpus
        if taken and ray.cluster_resources().get("CPU", 0) - taken < 1:
            self.dismiss()

    def dismiss(self) -> None:
        """Let all that wait free what they hold, and end them."""
        actors, self._actors = self._actors, []
        free_and_end(actors)

    def kill(self) -> None:
        """End all that wait at once."""
        actors, self._actors = self._actors, []
        for actor in actors:
            ray.kill(actor)


def free_and_end(actors: Sequence[Any]) -> None:
    """Let actors that have no work free what they hold, and end them."""
    freed = [actor.free.remote() for actor in actors]
    if freed:
        ray.wait(freed, num_returns=len(freed), timeout=CLOSING_S)
    for actor in actors:
        ray.kill(actor)
