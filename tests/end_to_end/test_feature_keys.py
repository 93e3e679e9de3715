"""A finished run is given keys of its differences later: nothing else is made again, and then it can be analysed."""

import json

from typer.testing import CliRunner

import drp_ray
from drp_ray.cli import app
from tests.faults.conftest import ScriptedJob

BLOCK = """---
[Brevity]
Definition: how short
Difference Description: terse
---
[Tone]
Definition: how kind
Difference Description: warm
---"""
REPLIES = {
    "The difference:\n\nBrevity": "length: shorter",
    "The difference:\n\nTone": "Warmth: warm",
    "Difference Description": BLOCK,
}


def test_keys_are_added_to_a_finished_run_and_counted(tmp_path, sample, ray_here):
    job = ScriptedJob(tmp_path, sample, users={"limit": 4}, retrieval={"n": 2})
    job.script(replies=REPLIES)
    drp_ray.open(job.file).run(say=lambda line: None)
    before, calls = job.contents(), len(job.calls())
    settings = {"evaluation.feature_keys": True}
    coverage = drp_ray.open(job.file, settings).evaluate(say=lambda line: None).metrics["coverage"]
    assert job.contents() == before
    assert coverage["features"] == 2 * coverage["comparisons"] and coverage["unreadable_keys"] == 0
    assert len(job.calls()) - calls == coverage["features"]

    places = [tmp_path / "by_file.json", tmp_path / "by_folder.json"]
    for run, place in zip([str(job.file), job.run_folder.uri], places, strict=True):
        # A run's folder knows its settings; the job's file is read anew.
        overrides = ["--set", "evaluation.feature_keys=true"] if run.endswith(".yaml") else []
        done = CliRunner().invoke(app, ["analyse", run, "--json", str(place), *overrides])
        assert done.exit_code == 0, done.stderr
    assert places[0].read_bytes() == places[1].read_bytes()
    found = json.loads(places[0].read_text())
    features = found["unique_features"]["scripted"]
    assert features["unique_keys"]["mean"] == 2.0
    assert features["users_by_key"]["warmth"] == features["users_by_key"]["length"] == features["users"] > 0
    assert found["uniqueness"]["embeddings_of"] == "scripted"
    assert found["uniqueness"]["users"]["with_embeddings"] > 0
