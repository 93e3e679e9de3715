"""The folders of results do not move: what exists is found again by a newer version of this package.

Where a change to the code changes results, raise the stage's version and write the table anew:
`python -m tests.job.test_pinned_fingerprints`.
"""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from drp_ray.config import checked
from drp_ray.job.plan import make_plan
from drp_ray.methods.base import METHODS
from drp_ray.storage.fingerprint import fingerprint
from drp_ray.storage.folder import LocalFolder

JOBS = Path(__file__).parents[2] / "jobs"
PINNED = Path(__file__).with_name("pinned_fingerprints.json")
DATASET = {"users/part-0.parquet": "a1", "items/part-0.parquet": "b2"}


def fingerprints(job: str, method: str) -> dict[str, str]:
    """The fingerprint of every stage but those that name the versions of libraries that are installed here."""
    plan = plan_of(job, method)
    named = {name for name, stage in plan.definitions.items() if stage.from_libraries}
    return {name: info.fingerprint for name, info in plan.stages.items() if name not in named}


def plan_of(job: str, method: str):
    settings = yaml.safe_load((JOBS / f"{job}.yaml").read_text()) | {"method": method}
    # All roles by one model where a job names the roles of its own method only.
    first = next(iter(settings["models"]))
    settings["roles"] = dict.fromkeys(("extractor", "validator", "summarizer", "generator"), first) | (
        settings.get("roles") or {}
    )
    return make_plan(checked(settings, job), "data", DATASET, LocalFolder(Path("/results")))


def everything() -> dict[str, dict[str, dict[str, str]]]:
    paths = [*JOBS.glob("*.yaml"), *JOBS.glob("judges/*.yaml")]
    jobs = sorted(str(path.relative_to(JOBS).with_suffix("")) for path in paths)
    return {job: {method: fingerprints(job, method) for method in sorted(METHODS)} for job in jobs}


@pytest.mark.parametrize("job", sorted(json.loads(PINNED.read_text())) if PINNED.exists() else [])
def test_the_folders_of_a_shipped_job_are_where_they_were(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the quickstart's tiny model is told by its name where it was not built
    for method, pinned in json.loads(PINNED.read_text())[job].items():
        assert fingerprints(job, method) == pinned, method


def test_scores_are_named_after_what_they_are_computed_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of("quickstart", "drp")
    scores = plan.stages["scores"]
    signatures = scores.made_from["settings"]["metrics"]
    assert set(signatures) >= {"rouge1", "rougeL", "bleu", "meteor"}
    inputs = {name: plan.stages[name].fingerprint for name in ("predictions", "users")}
    payload = {"stage": "scores", "version": 2, "settings": {"metrics": signatures}, "inputs": inputs}
    assert scores.fingerprint == fingerprint(payload)


if __name__ == "__main__":
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else "/tmp")
    PINNED.write_text(json.dumps(everything(), indent=1, sort_keys=True) + "\n")
