"""Where jobs read and write: paths that lead up or home, roots that are read only, what killed writers left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput, CannotWrite
from drp_ray.storage.folder import LocalFolder, S3Options, open_folder
from drp_ray.storage.lease import lease
from tests.job.made_runs import fill, finish, jobs_of, predictions, write_job

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from drp_ray.storage.folder import LocalFolder
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
LocalFolder(Path(sys.argv[1])).write(sys.argv[2], b"half")
"""


@pytest.fixture
def data(tmp_path) -> Path:
    write_sample(LocalFolder(tmp_path / "data"), 8, seed=1)
    return tmp_path / "data"


def folders_of(path: Path, **settings) -> list[Path]:
    """The stages' folders of a job."""
    [job] = jobs_of(write_job(path, path / "data", **settings))
    return [Path(info.folder.uri) for info in job.plan.stages.values()]


@pytest.mark.parametrize("place", ["{data}/users/..", "{data}/../data", "{data}/./", "{data}/../../{above}/data"])
def test_a_dataset_whose_path_leads_up_keeps_its_name_and_stays_inside_the_root(tmp_path, data, place):
    plain = folders_of(tmp_path)
    assert folders_of(tmp_path, dataset=place.format(data=data, above=tmp_path.name)) == plain
    assert all(folder.is_relative_to(tmp_path / "out" / "data") for folder in plain)


def test_a_root_that_leads_up_is_where_it_leads(tmp_path, data):
    (tmp_path / "deep").mkdir()
    assert folders_of(tmp_path, root=f"{tmp_path}/deep/../out") == folders_of(tmp_path)


def test_home_is_where_the_user_is(tmp_path, data, monkeypatch):
    plain = folders_of(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders_of(tmp_path, dataset="~/data", root="~/out") == plain
    assert not Path("~").exists()


def test_the_items_beside_a_dataset_are_found_where_its_path_leads_up(tmp_path, data, monkeypatch):
    (tmp_path / "all").mkdir()
    (data / "items").rename(tmp_path / "all" / "items")
    (data).rename(tmp_path / "all" / "test")
    monkeypatch.chdir(tmp_path / "all" / "test" / "users")
    [job] = jobs_of(write_job(tmp_path, data, dataset=".."))
    assert job.dataset.items.uri == str(tmp_path / "all" / "items") and job.dataset.name == "all-test"


@pytest.mark.parametrize("location", ["s3://bucket/..", "s3://bucket/a/../b", "s3://bucket/a/."])
def test_up_means_nothing_in_a_bucket(location):
    with pytest.raises(BadInput, match="mean nothing in a bucket"):
        open_folder(location, S3Options())


def test_a_finished_run_is_shown_where_nothing_can_be_written(tmp_path, data, monkeypatch):
    file = write_job(tmp_path, data, report=True)
    [job] = jobs_of(file)
    for stage in ("users", "retrieved", "contexts"):
        fill(job, stage, [predictions({})])
    finish(job, [predictions({"a": "a text"})])
    shown = CliRunner().invoke(app, ["run", str(file)])
    assert shown.exit_code == 0, shown.output

    def refuse(self, name, content):
        raise CannotWrite(f"{self.path}: cannot write here (Read-only file system)")

    monkeypatch.setattr(LocalFolder, "_temporary_copy", refuse)
    again = CliRunner().invoke(app, ["run", str(file)])
    assert again.exit_code == 0, again.output
    assert "Nothing to do" in again.stdout and "no report was written" in again.stdout
    assert "run (rag)" in again.stdout


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


@pytest.mark.parametrize("name", ["part-00000.parquet", "manifest.json", "kept/part-00000.parquet"])
def test_what_killed_writers_left_goes_with_the_next_lease(tmp_path, name):
    folder = LocalFolder(tmp_path / "stage")
    done = subprocess.run([sys.executable, "-c", KILLED_WRITER, folder.uri, name], check=False)
    assert done.returncode == -signal.SIGKILL and len(left_in(folder.path)) == 1
    (folder.path / ".hidden").write_text("of somebody else")
    with lease(folder, 3):
        assert left_in(folder.path) == [".hidden"]


def test_what_another_job_writes_of_its_lease_stays_while_it_may_be_alive(tmp_path):
    folder = LocalFolder(tmp_path / "stage")
    subprocess.run([sys.executable, "-c", KILLED_WRITER, folder.uri, "lease.json"], check=False)
    [name] = left_in(folder.path)
    with lease(folder, 3):
        assert name in left_in(folder.path)
    old = time.time() - 3600
    os.utime(folder.path / name, (old, old))
    with lease(folder, 3):
        assert name not in left_in(folder.path)
