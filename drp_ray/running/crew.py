"""The worker processes of stages: as many as fit the cluster, watched, and replaced when they are lost.

All workers of a pool are asked for at once. Ray starts those that fit, and the others wait for their place: a stage
begins with the first GPU and grows as nodes join. A worker that is lost is asked for anew in the same way. Ray restarts
none by itself: so every loss is known at once, and the lost parts are dealt to others.

Stages that load the same are worked on by one crew. Workers that later stages need as they are stand by until then.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import LocalRayletDiedError, NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

from drp_ray.errors import JobFailed, StageFailed
from drp_ray.running.dealing import MAX_LOST_WORKERS, PartToDo
from drp_ray.running.monitor import Outcome
from drp_ray.running.part_outcomes import failed_row, fails_all, fails_its_stage
from drp_ray.running.part_work import Assignment, PartActor, serve_in_task
from drp_ray.running.stage_info import PartStage, RunOptions
from drp_ray.running.standby import CLOSING_S, Standby, free_and_end

LOOK_EVERY_S = 1.0
"""How often it is looked whether the cluster has grown."""

MOST_CPUS_AHEAD = 0.25
"""The share of a cluster's CPUs that workers may take which load ahead of their work."""

FREED_S = 2.0
"""How long to wait until Ray knows that the GPUs of ended workers are free."""

LOST = (RayActorError, WorkerCrashedError, NodeDiedError, LocalRayletDiedError, OutOfMemoryError)
"""What Ray raises of a worker whose process or node is gone."""


@dataclass(frozen=True)
class Hand:
    """A worker process: its name, and how it is ended by force. One that `stood_by` has loaded, or is about to."""

    worker: str
    kill: Callable[[], None]
    actor: Any = None
    stood_by: bool = False


class Crew:
    """The workers of stages that load the same, and what became of the parts that they were dealt."""

    def __init__(self, stages: Sequence[PartStage], parts: Sequence[PartToDo], options: RunOptions) -> None:
        self._stages, self._monitor = stages, options.monitor
        self._left_of = Counter(part.stage for part in parts)
        self._pool, self._held, self._standby = stages[0].pool, stages[0].held, options.standby
        self._is_kept = options.keep_workers and self._held is not None
        self._deal = uuid.uuid4().hex
        without_driver = tuple(replace(stage, confirm=None) for stage in stages)  # workers have no use for it
        self._assignment = Assignment(
            without_driver, options.retry_errors, options.monitor, self._deal, worker="", is_kept=self._is_kept
        )
        self._hands: dict[Any, Hand] = {}
        self._failed: set[int] = set()
        if self._pool is None:
            self._standby.leave_room()
        self._cpus_of_one = self._standby.num_cpus
        self._waiting = self._standby.take(self._held) if self._pool is not None else []
        self._n_started = self._n_lost_at_start = 0
        ray.get(self._monitor.begin_deal.remote(self._deal, list(parts)))

    def outcomes(self) -> Iterator[Outcome]:
        """What becomes of every part, as it happens. After the failure of a stage nothing more is told of its parts.

        Raises:
            JobFailed: the start of workers has cost too many of them.
        """
        news = self._monitor.outcomes.remote(self._deal)
        while self._left_of.total():
            self._fill()
            ready, _ = ray.wait([news, *self._hands], timeout=LOOK_EVERY_S)
            for ended in ready:
                if ended != news:
                    self._see_off(ended)
                    continue
                for outcome in ray.get(news):
                    number = int(outcome["stage"])
                    if fails_all(outcome):
                        yield outcome
                    elif self._left_of[number]:  # else it was withdrawn meanwhile
                        self._left_of[number] -= 1
                        if fails_its_stage(outcome):
                            self._forget(number)
                        yield outcome
                news = self._monitor.outcomes.remote(self._deal)

    def withdraw(self, number: int) -> None:
        """Make no more parts of the stage with this number."""
        self._forget(number)
        ray.get(self._monitor.withdraw.remote(self._deal, number))

    def _forget(self, number: int) -> None:
        self._left_of[number] = 0
        self._failed.add(number)

    def end(self) -> None:
        """Let workers that have begun free their models, or stand by; end the others, and those that take too long.

        Where every stage has failed actors are ended at once. Tasks are not: they end by themselves now, and the driver
        dies of a check in Ray 2.60 where a task is cancelled by force in the moment in which it ends.
        """
        if len(self._failed) == len(self._stages) and self._pool is not None:
            self.kill()
            return
        begun = set(ray.get(self._monitor.begun.remote(self._deal)))
        closing = [ref for ref, hand in self._hands.items() if hand.stood_by or hand.worker in begun]
        closed = ray.wait(closing, num_returns=len(closing), timeout=CLOSING_S)[0] if closing else []
        left = [self._hands.pop(ref) for ref in closed]
        if self._held is not None and self._is_kept:
            self._standby.add(self._held, [*(hand.actor for hand in left), *self._waiting], self._cpus_of_one)
        else:
            free_and_end(self._waiting)
        self._waiting = []
        self.kill()

    def kill(self) -> None:
        """End all workers at once."""
        for hand in self._hands.values():
            hand.kill()
        for actor in self._waiting:
            ray.kill(actor)
        self._hands.clear()

    def _fill(self) -> None:
        """Ask Ray for the workers that are missing, as far as there are parts for them."""
        pool = self._pool
        most = pool.replicas if pool is not None else max(1, int(ray.cluster_resources().get("CPU", 1)))
        while len(self._hands) < min(most, self._left_of.total()):
            self._n_started += 1
            self._start(replace(self._assignment, worker=f"worker {self._n_started}"))

    def _start(self, assignment: Assignment) -> None:
        pool = self._pool
        if pool is None:
            task = _serve_in_task.remote(assignment)
            self._hands[task] = Hand(assignment.worker, lambda: ray.cancel(task, force=True))
            return
        here = _PartActor.options(num_cpus=pool.num_cpus, num_gpus=pool.num_gpus)
        stood_by = bool(self._waiting)
        if not stood_by:
            self._cpus_of_one = pool.num_cpus
        actor = self._waiting.pop() if stood_by else here.remote()
        self._hands[actor.serve.remote(assignment)] = Hand(assignment.worker, lambda: ray.kill(actor), actor, stood_by)

    def _see_off(self, ended: Any) -> None:
        """Take leave of a worker that has ended, or was lost: then its parts are dealt again.

        A part that this happens to too often fails its stage.

        Raises:
            JobFailed: that happened too often before a worker had loaded what it needs.
        """
        hand = self._hands.pop(ended)
        try:
            ray.get(ended)
            if self._is_kept:
                self._waiting.append(hand.actor)
        except LOST as loss:
            hand.kill()  # Ray may only have lost sight of it
            alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
            has_begun, condemned = ray.get(self._monitor.lose.remote(self._deal, hand.worker, alive))
            for name in condemned:
                number, _, part = name.partition("/")
                stage = self._stages[int(number)].info.name
                failure = StageFailed(f"{stage}: {MAX_LOST_WORKERS} worker processes died while they worked on {part}")
                ray.get(self._monitor.fail.remote(self._deal, {**failed_row(failure), "stage": number}))
            # One that stood by may have gone with its node while other work was done. There are only so many of these.
            self._n_lost_at_start = 0 if has_begun else self._n_lost_at_start + (not hand.stood_by)
            if self._n_lost_at_start >= MAX_LOST_WORKERS:
                raise JobFailed(
                    f"{self._stages[0].info.name}: {self._n_lost_at_start} worker processes in a row died before they "
                    f"had loaded what they need: {str(loss).splitlines()[0]}"
                ) from loss


def load_ahead(stage: PartStage, at_most: int, standby: Standby) -> None:
    """Let workers load what a later stage needs while other work is done, if that leaves CPUs to this work.

    On one node there is nothing to place: a worker of one CPU takes none then, so that the work keeps all of them.
    """
    pool, held = stage.pool, stage.held
    if pool is None or held is None:
        return
    is_one_node = sum(node["Alive"] for node in ray.nodes()) == 1
    takes_none = is_one_node and pool.num_cpus <= 1
    count = float(min(pool.replicas, at_most))
    if pool.num_cpus:
        usable = 1 if takes_none else MOST_CPUS_AHEAD
        count = min(count, usable * ray.cluster_resources().get("CPU", 0) // pool.num_cpus)
    if pool.num_gpus:
        count = min(count, _free_gpus() // pool.num_gpus)
    num_cpus = 0 if takes_none else pool.num_cpus
    here = _PartActor.options(num_cpus=num_cpus, num_gpus=pool.num_gpus)
    actors = [here.remote(stage.worker) for _ in range(int(count))]
    for actor in actors:
        actor.load.remote()
    if actors:
        standby.add(held, actors, num_cpus, is_ahead=True)


def _free_gpus() -> float:
    """GPUs that nobody holds: those of workers that were ended just now are free in a moment."""
    give_up = time.monotonic() + FREED_S
    while (free := ray.available_resources().get("GPU", 0)) < ray.cluster_resources().get("GPU", 0):
        if time.monotonic() > give_up:
            break
        time.sleep(0.1)
    return float(free)


_serve_in_task = ray.remote(num_cpus=1, max_retries=0)(serve_in_task)
_PartActor = ray.remote(max_restarts=0, max_task_retries=0)(PartActor)


@contextmanager
def working(stages: Sequence[PartStage], parts: Sequence[PartToDo], options: RunOptions) -> Iterator[Crew]:
    """The workers of stages that load the same; with the block they are ended, or stand by for later stages."""
    crew = Crew(stages, parts, options)
    try:
        yield crew
    except BaseException:
        with suppress(Exception):  # what ended the work is told, and not what its clean-up met
            crew.kill()
        raise
    crew.end()
