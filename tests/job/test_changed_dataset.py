"""A dataset that is changed while a job reads it: nothing that may mix old and new counts as done."""

import inspect
import os

import pyarrow.parquet as pq
import pytest

from drp_ray.data.sample_files import write_sample
from drp_ray.errors import DatasetChanged
from drp_ray.job.job import Job
from drp_ray.running import regrouping
from drp_ray.stages.order import STAGES
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import read_manifest
from tests.job.made_runs import write_job


def change(file) -> None:
    """The same rows in another order, at the same size or not, with the times of before."""
    status = file.stat()
    rows = pq.read_table(file)
    pq.write_table(rows.take(list(reversed(range(rows.num_rows)))), file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_stage_that_read_a_dataset_which_changed_is_not_done_and_another_run_reads_it_as_it_is(
    tmp_path, ray_here, monkeypatch
):
    write_sample(LocalFolder(tmp_path / "data"), 8, seed=1)
    file = write_job(tmp_path, tmp_path / "data")
    users, make_parts = tmp_path / "data" / "users" / "part-00000.parquet", regrouping._make_parts
    before = Job.open(file).folder("users")

    def changed_meanwhile(stage, options):
        change(users)
        return make_parts(stage, options)

    monkeypatch.setattr(regrouping, "_make_parts", changed_meanwhile)
    with pytest.raises(DatasetChanged, match=r"was changed while the job read it \(users/part-00000.parquet\)"):
        Job.open(file).run(until="users")
    assert read_manifest(before) is None, "the rows of the new dataset would stand under the old one's name"

    monkeypatch.setattr(regrouping, "_make_parts", make_parts)
    again = Job.open(file, {"name": "another"})
    again.run(until="users")
    assert again.folder("users").uri != before.uri
    assert again.table("users")["user_id"].to_pylist() == pq.read_table(users)["user_id"].to_pylist()


def test_the_stages_that_read_the_dataset_say_so():
    for stage in STAGES:
        source = inspect.getsource(inspect.getmodule(stage.make if stage.variants is None else stage.variants))
        reads = "context.dataset" in source or "context.catalogue(" in source
        says = stage.reads_dataset or "reads_dataset=True" in source
        assert reads == says, stage.name
