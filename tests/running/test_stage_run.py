"""What stands in a stage's folder while it is made, without Ray."""

import pyarrow as pa
import pytest

from drp_ray.running.part_stage import run_part_stages
from drp_ray.running.stage_info import PartStage, RunOptions, StageInfo
from drp_ray.running.stage_run import StageRun
from drp_ray.running.worker import Worker
from drp_ray.storage.lease import LeaseHeld, LeaseLost, lease
from drp_ray.storage.local import LocalFolder
from drp_ray.storage.parts import Manifest, commit_part, part_name, read_manifest, write_manifest

ROWS = pa.schema([("n", pa.int64())])


class Copies(Worker):
    schema, keys = ROWS, ("n",)

    async def work(self, part, rows, earlier):
        return rows


def made(folder, name, errors=0) -> StageInfo:
    """A finished stage of one part, which may have error rows."""
    here = LocalFolder(folder / name)
    source = read_manifest(LocalFolder(folder / "source"))
    digest, inputs = (source.parts[0].digest, {"source": source.content}) if source else ("", {})
    part = commit_part(here, part_name(0), pa.table({"n": [1]}, schema=ROWS), {"errors": errors}, digest)
    totals = {"rows": 1, "errors": errors}
    write_manifest(
        here, Manifest(stage=name, fingerprint="f", made_from={}, inputs=inputs, parts=[part.entry], totals=totals)
    )
    return StageInfo(name, "f", {}, here)


def test_a_stage_is_what_it_was_where_another_of_its_crew_is_held_by_another_job(tmp_path):
    source = made(tmp_path, "source")
    stages = [PartStage(made(tmp_path, name, errors=errors), source, Copies()) for name, errors in (("a", 0), ("b", 1))]
    before = [read_manifest(stage.info.folder) for stage in stages]
    with lease(stages[1].info.folder, ttl_s=0.5):
        made_of = dict(run_part_stages(stages, RunOptions(5, 0.5, True, None)))
    assert made_of[0] == before[0] and isinstance(made_of[1], LeaseHeld)
    assert [read_manifest(stage.info.folder) for stage in stages] == before
    with lease(stages[0].info.folder, ttl_s=0.5):
        pass  # it was let go


def test_a_stage_that_another_job_took_is_left_as_that_job_says(tmp_path):
    def lost():
        raise LeaseLost("taken")

    source = made(tmp_path, "source")
    stage = PartStage(made(tmp_path, "a", errors=1), source, Copies())
    run = StageRun(stage, read_manifest(source.folder), True, lost)
    made(tmp_path, "a")
    with pytest.raises(LeaseLost):
        run.leave()
    assert read_manifest(stage.info.folder).is_done
