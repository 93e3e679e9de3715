"""Jobs with a scripted engine, to be disturbed."""

import json
import shutil
from pathlib import Path

import pytest

from drp_ray.storage.folder import S3Options
from tests.end_to_end.conftest import Job, sample, settings

__all__ = ["compared", "prepared", "sample", "scripted", "settings"]
ROOT = str(Path(__file__).parents[2])


class ScriptedJob(Job):
    """A job whose engine does what its script says, and whose embedder leaves a trace.

    With `after`, another such job, it begins with what that one has made before any language model was asked.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Path | str,
        after: "ScriptedJob | None" = None,
        s3: S3Options | None = None,
        env: dict | None = None,
        **settings,
    ) -> None:
        self.script_file, self.call_log, self.start_log = folder / "script", folder / "calls", folder / "starts"
        self.embedding_log = after.embedding_log if after is not None else folder / "embedded"
        if after is not None:
            shutil.copytree(after.folder / "results", folder / "results", ignore=shutil.ignore_patterns("runs"))
        self.script()
        self.call_log.touch()
        common = {
            "name": "scripted",
            "dataset": str(dataset),
            "root": str(folder / "results"),
            "method": "drp",
            "retrieval": {"n": 3},
            "selection": {"k": 2},
            "embedding": {
                "engine": "tests.fakes:HashEmbedder",
                "model": str(self.embedding_log),
                "replicas": 1,
                "num_gpus": 0,
            },
            "models": {"llm": {"engine": "tests.fakes:ScriptedEngine", "id": str(self.script_file)}},
            "runtime": {"rows_per_part": 4, "heartbeat_s": 1, "num_cpus": 2, "lease_ttl_s": 5},
        }
        super().__init__(folder, {**common, **settings}, s3, {"PYTHONPATH": ROOT, **(env or {})})

    def script(self, **script) -> None:
        """Tell the engine what to do from now on."""
        self.script_file.write_text(json.dumps({"log": str(self.call_log), "starts": str(self.start_log), **script}))

    def engine_starts(self) -> int:
        """How often an engine was started so far."""
        return len(self.start_log.read_text().splitlines())

    def calls(self) -> list[str]:
        """The prompts that were asked so far, as digests."""
        return self.call_log.read_text().splitlines()


@pytest.fixture
def scripted(tmp_path, sample) -> ScriptedJob:
    return ScriptedJob(tmp_path, sample)


@pytest.fixture(scope="session")
def compared(tmp_path_factory, sample, ray_here) -> ScriptedJob:
    """A job that has its comparisons and goes no further, for others to begin with."""
    job = ScriptedJob(tmp_path_factory.mktemp("compared"), sample)
    done = job.run_here("run", "--until", "comparisons")
    assert done.returncode == 0, done.stderr
    return job


@pytest.fixture
def prepared(tmp_path, sample, compared) -> ScriptedJob:
    """A scripted job whose comparisons are there: what is disturbed comes after them."""
    return ScriptedJob(tmp_path, sample, after=compared)
