"""The Python API in a process of its own, with a method from the folder that it is started in."""

import json
import subprocess
import sys

from tests.faults.conftest import ROOT, ScriptedJob

OWN_METHOD = """
from drp_ray.methods import Ask, UserContext, Written, method
from drp_ray.prompts import PERSONAL_REVIEW, PromptPack


@method("shout", needs="history", asks={"generator": PERSONAL_REVIEW})
async def shout(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    reply = await ask("generator", prompts.personal_review(user.target, user.history[:1]))
    return Written(reply.upper() + "!")
"""

NOTEBOOK = """
import json, sys
import drp_ray

job = drp_ray.open(sys.argv[1], {"method": "my_methods:shout", "name": "from-python", "users.limit": 5})
before = [line.state for line in job.status()]
result = job.run(say=lambda line: None)
rows, dataset = job.predictions(), job.predictions_dataset()
print(json.dumps({
    "before": before,
    "after": [line.state for line in job.status()],
    "rows": rows.num_rows,
    "methods": sorted(set(rows["method"].to_pylist())),
    "dataset": [row["prediction"] for row in dataset],
    "predictions": rows["prediction"].to_pylist(),
    "metrics": sorted(result.metrics["metrics"]),
}))
"""


def test_a_notebook_opens_runs_and_reads_a_job_with_a_method_of_its_own(tmp_path, sample):
    job = ScriptedJob(tmp_path, sample)
    (tmp_path / "my_methods.py").write_text(OWN_METHOD)
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    command = [sys.executable, "notebook.py", str(job.file)]
    env = {**job.env, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["before"]) == {"waiting"} and set(found["after"]) == {"done"}
    assert (found["rows"], found["methods"]) == (5, ["shout"])
    assert all(text == text.upper() and text.endswith("!") for text in found["predictions"])
    assert found["dataset"] == found["predictions"]
    assert "rouge1" in found["metrics"]

    # The command line takes the same method from the folder that it is started in, and finds everything there.
    again = job.run("run", "--set", "method=my_methods:shout", "--set", "name=from-python", "--set", "users.limit=5")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("Nothing to do") and "not kept" not in again.stdout
    job_settings = ("method=my_methods:shout", "name=from-python", "users.limit=5", "runtime.keep=[prompts]")
    keeping = job.run("run", *(word for setting in job_settings for word in ("--set", setting)))
    assert "predictions: the calls of 2 of 2 parts were not kept (runtime.keep)" in keeping.stdout
