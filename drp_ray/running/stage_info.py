"""What the runner needs to know: of a stage its name, folder and work, and of the job how to run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray

from drp_ray.running.standby import Held, Standby
from drp_ray.running.worker import Pool, Worker
from drp_ray.storage.folder import Folder

Confirm = Callable[[], None]
"""Raises where what a stage has read besides its inputs is not what it was, so that nothing of it may count as done."""


@dataclass(frozen=True)
class StageInfo:
    """What names a stage's result: its fingerprint and the payload that it is a hash of."""

    name: str
    fingerprint: str
    made_from: Mapping[str, Any]
    folder: Folder


@dataclass(frozen=True)
class PartStage:
    """A stage whose output part i is a function of input part i alone."""

    info: StageInfo
    source: StageInfo
    worker: Worker
    pool: Pool | None = None
    expected_rows: str = "rows"
    """The fact of an input part that says how many rows its output part has, times `rows_each`."""

    rows_each: int = 1
    confirm: Confirm | None = None

    @property
    def held(self) -> Held | None:
        """What its workers hold; None where they share it with no other stage's."""
        loads = self.worker.holds()
        return None if loads is None or self.pool is None else Held(loads, self.pool)


class Regrouping(Protocol):
    """Makes all parts of a folder. Equal inputs must give parts with equal bytes."""

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """The Ray Data plan that writes the parts and yields an outcome row for each; None where there are none."""


@dataclass(frozen=True)
class RegroupStage:
    """A stage that is made whole or not at all."""

    info: StageInfo
    inputs: Sequence[StageInfo]
    regrouping: Regrouping
    confirm: Confirm | None = None


@dataclass(frozen=True)
class RunOptions:
    """How stages are run. With `lease_ttl_s` None no lease is taken; `monitor` is Ray's handle of a `Monitor`.

    With `keep_workers` those that have models stand by for stages that need the same.
    """

    heartbeat_s: float
    lease_ttl_s: float | None
    retry_errors: bool
    monitor: Any = field(repr=False)
    standby: Standby = field(default_factory=Standby, repr=False)
    keep_workers: bool = False
