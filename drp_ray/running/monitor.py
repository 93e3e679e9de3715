"""The one actor of a job that all its workers and the driver talk to: it adds up counts, and deals parts.

It outlives the workers, and lives on the driver's node. Methods that wait answer when something has changed.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from drp_ray.running.dealing import Dealing, PartToDo
from drp_ray.running.metrics import IN_FLIGHT, StageMetrics
from drp_ray.running.part_outcomes import fails_its_stage
from drp_ray.running.progress import Counts

NO_STAGE = ""
LOOK_EVERY_S = 5.0
"""How often a worker that has nothing is looked at again where nothing happens: a part may fall far behind."""

Outcome = dict[str, str]
"""What became of a part (`part_outcomes`), and the number of its `stage`."""


@ray.remote(num_cpus=0)
class Monitor:
    """Adds up what the workers of the running stage count, and deals its parts to them.

    Workers and the driver say which `deal` they mean: what is left of an earlier stage is told that it is over.
    """

    def __init__(self) -> None:
        self._stage = NO_STAGE
        self._counts: Counts = {}
        self._metrics = StageMetrics()
        self._deal = ""
        self._dealing = Dealing([])
        self._outcomes: list[Outcome] = []
        self._nodes: dict[str, str] = {}
        self._changed = asyncio.Event()

    def reset(self, stage: str) -> None:
        """Start a stage."""
        if self._stage != NO_STAGE:
            self._metrics.add(self._stage, {}, in_flight=0)
        self._stage = stage
        self._counts = {}
        self.begin_deal("", [])

    def add(self, counts: Counts, deal: str | None = None) -> None:
        """Add to the counts, unless they are of workers of an earlier deal."""
        if deal not in (None, self._deal):
            return
        for name, value in counts.items():
            self._counts[name] = self._counts.get(name, 0) + value
        self._metrics.add(self._stage, counts, self._counts.get(IN_FLIGHT, 0))

    def counts(self) -> Counts:
        """What was counted since the stage began."""
        return dict(self._counts)

    def begin_deal(self, deal: str, parts: Sequence[PartToDo]) -> None:
        """Deal these parts from now on."""
        self._deal, self._dealing = deal, Dealing(parts)
        self._outcomes, self._nodes = [], {}
        self._wake()

    async def ask(self, deal: str, worker: str, node: str) -> PartToDo | None:
        """The next part for a worker on a node, as soon as there is one; None once every part has ended."""
        if deal == self._deal:  # workers of another deal may be called alike
            self._nodes[worker] = node
        while not self._is_over(deal) and not self._dealing.has_gone(worker):
            part = self._dealing.deal(worker, time.monotonic())
            if part is not None:
                self.add({"begun": 1})
                return part
            await self._until_changed()
        return None

    async def may_commit(self, deal: str, worker: str, part: str) -> bool:
        """Whether a worker may commit a part; where another one is about to, wait for what becomes of it."""
        while not self._is_over(deal):
            answer = self._dealing.may_commit(worker, part)
            if answer is not None:
                return answer
            await self._until_changed()
        return False

    def end(
        self, deal: str, worker: str, part: str, outcome: Outcome, counts: Counts, seconds: float | None = None
    ) -> None:
        """Note what became of a part, after `seconds` of work where there was any.

        `counts` are those that the worker has not told yet: calls of an actor that can wait may overtake each other.
        """
        self.add(counts, deal)
        if self._is_over(deal) or not self._dealing.end(worker, part, time.monotonic()):
            return
        if seconds is not None:
            self._metrics.part_took(self._stage, seconds)
        self._tell(outcome)

    def fail(self, deal: str, outcome: Outcome) -> None:
        """Note a failure that no worker tells of a part."""
        if deal == self._deal:
            self._tell(outcome)

    def withdraw(self, deal: str, stage: int) -> None:
        """Deal no more parts of a stage."""
        if deal == self._deal:
            self._dealing.withdraw(stage)
            self._wake()

    def _tell(self, outcome: Outcome) -> None:
        if fails_its_stage(outcome):
            self._dealing.withdraw(int(outcome["stage"]))
        self._outcomes.append(outcome)
        self._wake()

    def lose(self, deal: str, worker: str, alive: Collection[str]) -> tuple[bool, tuple[str, ...]]:
        """Deal the parts of a lost worker again, `alive` being the nodes that are still there.

        What comes back: whether it had begun to ask, and the parts that have cost too many workers.
        """
        if deal != self._deal:
            return True, ()
        node = self._nodes.get(worker)
        condemned = self._dealing.lose(worker, is_blamed=node in alive)
        self._wake()
        return node is not None, condemned

    def begun(self, deal: str) -> list[str]:
        """The workers that have asked for parts."""
        return list(self._nodes) if deal == self._deal else []

    async def outcomes(self, deal: str) -> list[Outcome]:
        """What became of parts since the last call, as soon as there is something."""
        while not self._outcomes and deal == self._deal:
            await self._until_changed()
        if deal != self._deal:
            return []
        news, self._outcomes = self._outcomes, []
        return news

    async def until_over(self, deal: str) -> None:
        """Wait until every part of a deal has ended."""
        while not self._is_over(deal):
            await self._until_changed()

    def _is_over(self, deal: str) -> bool:
        return deal != self._deal or self._dealing.is_over

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until_changed(self) -> None:
        waiting = asyncio.ensure_future(self._changed.wait())
        await asyncio.wait([waiting], timeout=LOOK_EVERY_S)
        waiting.cancel()


def start_monitor() -> Any:
    """Start a monitor; what comes back is Ray's handle of it.

    It lives on the driver's node: without that the job ends anyway, and no other node's loss may end it.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # Every worker has two calls that wait here, one for a part and one for the end.
    return Monitor.options(scheduling_strategy=here, max_concurrency=10_000).remote()  # type: ignore[attr-defined]
