"""A password in an endpoint's address is used, and neither written anywhere nor printed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.engines.base import ModelSpec
from drp_ray.engines.openai import OpenAIEngine
from drp_ray.storage.folder import LocalFolder
from tests.job.made_runs import finish, jobs_of, predictions, write_job

SECRET = "s3cr3t"


def job_with(tmp_path: Path, password: str) -> Path:
    address = f"http://user:{password}@127.0.0.1:9/v1"
    models = {"llm": {"id": "some/model", "engine": "openai", "base_url": address}}
    return write_job(tmp_path, tmp_path / "data", models=models)


@pytest.fixture
def job_file(tmp_path) -> Path:
    write_sample(LocalFolder(tmp_path / "data"), 8, seed=1)
    return job_with(tmp_path, SECRET)


def test_it_is_in_no_file_of_a_run_and_the_run_can_be_continued_with_another(job_file, tmp_path):
    [job] = jobs_of(job_file)
    finish(job, [predictions({"a": "a text"})])
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(path.name == "run.json" for path in written)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert "***@127.0.0.1" in job.run_folder.read("run.json").decode()
    [other] = jobs_of(job_with(tmp_path, "changed"))
    assert {name: info.fingerprint for name, info in other.plan.stages.items()} == {
        name: info.fingerprint for name, info in job.plan.stages.items()
    }
    assert job.config.models["llm"].base_url == f"http://user:{SECRET}@127.0.0.1:9/v1"


def test_a_password_with_the_sign_that_ends_it_is_in_no_file_either(job_file, tmp_path):
    [job] = jobs_of(job_with(tmp_path, f"p@{SECRET}@x"))
    finish(job, [predictions({"a": "a text"})])
    assert b"://***@127.0.0.1" in job.run_folder.read("run.json")
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


def test_it_is_in_nothing_that_is_said(job_file):
    for arguments in (
        ["status"],
        ["validate"],
        ["run", "--set", "method=nothing"],
        ["where", "--set", "users=x", "no"],
    ):
        verb, *rest = arguments
        done = CliRunner().invoke(app, [verb, str(job_file), *rest])
        assert SECRET not in done.output
    refused = CliRunner().invoke(app, ["status", str(job_file), "--set", f"models.llm.base_url.x=http://u:{SECRET}@h"])
    assert refused.exit_code == 2 and SECRET not in refused.output


def test_it_is_in_no_message_of_the_engine():
    spec = ModelSpec(engine="openai", id="m", base_url=f"http://user:{SECRET}@127.0.0.1:9/v1")
    assert SECRET not in OpenAIEngine(spec)._name


def test_a_sweep_over_addresses_names_no_password(job_file, tmp_path):
    addresses = [f"http://user:{SECRET}@h{number}" for number in (1, 2)]
    models = {"llm": {"id": "some/model", "engine": "openai", "base_url": addresses}}
    jobs = jobs_of(write_job(tmp_path, tmp_path / "data", models=models))
    assert len(jobs) == 2 and all(SECRET not in job.config.name for job in jobs)
