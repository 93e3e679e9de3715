"""Whole jobs, started as a user starts them: by the command line, mostly in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.storage.folder import Folder, LocalFolder, S3Options, open_folder
from drp_ray.storage.parts import read_manifest, read_part

STAGES = [
    "users",
    "retrieved",
    "items",
    "embeddings",
    "comparisons",
    "differences",
    "contexts",
    "predictions",
    "scores",
]
JOB_TIMEOUT_S = 500


class Job:
    """A job file in a folder, and what its stages hold."""

    def __init__(self, folder: Path, settings: dict, s3: S3Options | None = None, env: dict | None = None) -> None:
        self.folder, self.settings = folder, settings
        self.s3 = s3 or S3Options()
        self.env = {**os.environ, **(env or {})}
        self.file = folder / "job.yaml"
        self._stages: dict[str, Folder] = {}
        self.file.write_text(yaml.safe_dump(settings))

    def command(self, *arguments: str) -> list[str]:
        verb, *rest = arguments
        return [sys.executable, "-m", "drp_ray", verb, str(self.file), *rest]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            env=self.env,
            cwd=self.folder,
            timeout=JOB_TIMEOUT_S,
        )

    def run_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same command in this process and on its Ray (`ray_here`), for what is no matter of processes."""
        verb, *rest = arguments
        done = CliRunner().invoke(app, [verb, str(self.file), *rest])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def stage(self, name: str) -> Folder:
        """The folder of a stage: as `run.json` names it once there is one, before that as `drp-ray where` prints."""
        if not self._stages:
            try:
                stages = json.loads(self.run_folder.read("run.json"))["stages"]
                self._stages = {stage: open_folder(told["folder"], self.s3) for stage, told in stages.items()}
            except FileNotFoundError:
                return self.where(name)
        return self._stages[name]

    def where(self, name: str) -> Folder:
        """The folder that `drp-ray where` prints."""
        done = self.run_here("where", name)
        assert done.returncode == 0, done.stderr
        return open_folder(done.stdout.removesuffix("\n"), self.s3)

    @property
    def run_folder(self) -> Folder:
        """Where the run's record and its result are."""
        return self.results.at("runs", self.settings["name"])

    @property
    def results(self) -> Folder:
        """Where all that is made of the dataset is."""
        return open_folder(self.settings["root"], self.s3).at(self.settings["dataset"].rpartition("/")[2])

    def contents(self) -> dict[tuple[str, str], bytes]:
        """Every file of every stage."""
        return {
            (name, entry.name): self.stage(name).read(entry.name)
            for name in STAGES
            for entry in self.stage(name).entries()
        }

    def rows(self, name: str) -> pa.Table:
        """All rows of a stage, read by its manifest."""
        folder = self.stage(name)
        manifest = read_manifest(folder)
        assert manifest is not None and manifest.is_done
        tables = []
        for part in manifest.parts:
            found = read_part(folder, part.name)
            assert found.rows.num_rows == part.rows
            tables.append(found.rows)
        return pa.concat_tables(tables)

    def metrics(self) -> dict:
        return json.loads(self.run_folder.read("metrics.json"))


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    """The embedded dataset, small."""
    folder = tmp_path_factory.mktemp("datasets") / "sample"
    write_sample(LocalFolder(folder), 16, seed=1)
    return folder


@pytest.fixture
def settings(sample, tiny_model) -> dict:
    """The quickstart's settings, with fewer and shorter calls."""
    settings = yaml.safe_load((Path(__file__).parents[2] / "jobs/quickstart.yaml").read_text())
    settings |= {"dataset": str(sample), "retrieval": {"n": 3}, "selection": {"k": 2}, "evaluation": {}}
    settings["models"]["llm"]["id"] = str(tiny_model)
    settings["sampling"] = {"max_tokens": 24}
    settings["runtime"] = {"rows_per_part": 8, "heartbeat_s": 5, "num_cpus": 2}
    return settings


def assert_whole(job: Job, users: int) -> None:
    """Every stage is there, every id exactly once, every row in its schema and answered."""
    from drp_ray import schema

    for name, keys in (
        ("users", ["user_id"]),
        ("retrieved", ["user_id"]),
        ("items", ["item_id"]),
        ("embeddings", ["text_id"]),
        ("comparisons", ["user_id", "item_id"]),
        ("differences", ["user_id", "item_id"]),
        ("contexts", ["user_id"]),
        ("predictions", ["user_id"]),
        ("scores", ["user_id"]),
    ):
        rows = job.rows(name)
        ids = list(zip(*(rows[key].to_pylist() for key in keys), strict=True))
        assert len(ids) == len(set(ids)), name
        if keys == ["user_id"]:
            assert len(ids) == users, name
        if name != "scores":
            assert rows.schema == getattr(schema, name.upper()), name
        if "status" in rows.column_names:
            assert set(rows["status"].to_pylist()) == {"ok"}, name
