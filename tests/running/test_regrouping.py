"""What a failure in a task of a shuffle comes to, on a local Ray."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pytest
import ray

from drp_ray.errors import BadInput, StageFailed
from drp_ray.running.monitor import start_monitor
from drp_ray.running.regrouping import run_regroup_stage
from drp_ray.running.stage_info import RegroupStage, RunOptions, StageInfo
from drp_ray.storage.folder import DiskFailed, LocalFolder, StorageUnreachable
from drp_ray.storage.parts import read_manifest

# Ray's workers cannot import a test module: its classes travel by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass
class Fails:
    """A shuffle in which tasks raise `failure`, of one kind or another."""

    failure: Exception
    kind: str

    def plan(self, folder):
        return PLANS[self.kind](self._work)

    def _work(self, rows: pa.Table) -> pa.Table:
        raise self.failure


PLANS: dict[str, Callable] = {
    "map": lambda work: ray.data.range(3).map_batches(work, batch_format="pyarrow"),
    "groups": lambda work: ray.data.range(3).groupby("id").map_groups(work, batch_format="pyarrow"),
    "before the shuffle": lambda work: ray.data.range(3).map_batches(work, batch_format="pyarrow").materialize(),
}


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize(
    "failure", [DiskFailed("no room"), StorageUnreachable("away"), BadInput("not that"), StageFailed("damaged")]
)
def test_a_failure_that_a_person_can_act_on_is_raised_as_the_task_raised_it(tmp_path, ray_here, kind, failure):
    folder = LocalFolder(tmp_path)
    stage = RegroupStage(StageInfo("users", "f", {}, folder), [], Fails(failure, kind))
    with pytest.raises(type(failure)) as raised:
        run_regroup_stage(stage, RunOptions(5, None, False, start_monitor()))
    assert (type(raised.value), str(raised.value)) == (type(failure), str(failure))
    assert read_manifest(folder) is None
