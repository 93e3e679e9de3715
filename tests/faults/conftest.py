"""Jobs with a scripted engine, to be disturbed."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Job, sample, settings

__all__ = ["sample", "scripted", "settings"]
ROOT = str(Path(__file__).parents[2])


class ScriptedJob(Job):
    """A job whose engine does what its script says, and whose embedder leaves a trace."""

    def __init__(self, folder: Path, dataset: Path, **settings) -> None:
        self.script_file, self.call_log, self.embedding_log = folder / "script", folder / "calls", folder / "embedded"
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
        super().__init__(folder, {**common, **settings}, env={"PYTHONPATH": ROOT})

    def script(self, **script) -> None:
        """Tell the engine what to do from now on."""
        self.script_file.write_text(json.dumps({"log": str(self.call_log), **script}))

    def calls(self) -> list[str]:
        """The prompts that were asked so far, as digests."""
        return self.call_log.read_text().splitlines()


@pytest.fixture
def scripted(tmp_path, sample) -> ScriptedJob:
    return ScriptedJob(tmp_path, sample)
