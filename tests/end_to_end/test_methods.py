"""All methods from one job file: a sweep on the quickstart's shape, and one whose calls are counted."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from drp_ray.methods.base import METHODS
from tests.end_to_end.conftest import Job, sample, settings
from tests.faults.conftest import ScriptedJob

__all__ = ["sample", "settings"]
USERS, PREDICTED = 16, 8
EIGHT = ["nonperso", "rag", "intsum", "llm-trsr", "cicl", "persona-db", "dpl", "drp"]
START_S = 180


@pytest.fixture(scope="module")
def vllm_server(tiny_model, tmp_path_factory):
    """The real engine behind its own OpenAI-compatible server: one start for all methods."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_model), "--port"]
    command += [str(port), "--served-model-name", "tiny", "--max-model-len", "8192", "--enforce-eager"]
    with log.open("wb") as output:
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "TORCH_COMPILE_DISABLE": "1"}
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        wait_until_it_serves(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=60)


def wait_until_it_serves(url, server, log):
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/models", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)


def runs_of(job):
    """Every run of a job's sweep, as jobs that can be read."""
    compared = json.loads(job.results.at("sweeps", job.settings["name"]).read("sweep.json"))
    found = {}
    for row in compared["runs"]:
        found[row["run"]] = Job(job.folder, {**job.settings, "name": row["run"]}, job.s3, job.env)
    job.file.write_text(json.dumps(job.settings))
    return compared, found


def test_all_eight_methods_end_to_end_on_the_real_engine(tmp_path, settings, vllm_server, ray_here):
    endpoint = {"engine": "openai", "id": "tiny", "base_url": vllm_server, "concurrency": 32, "seeds": False}
    settings["models"] = {"llm": endpoint}
    hashes = {"engine": "tests.fakes:HashEmbedder", "model": str(tmp_path / "embedded"), "replicas": 1, "num_gpus": 0}
    settings["embedding"] = hashes
    settings |= {"name": "all", "method": EIGHT, "users": {"limit": PREDICTED}, "root": str(tmp_path / "results")}
    job = Job(tmp_path, settings)
    done = job.run_here("sweep")
    assert done.returncode == 0, done.stderr
    assert set(EIGHT) == set(METHODS)
    compared, runs = runs_of(job)
    assert list(runs) == [f"all-{method}" for method in EIGHT]
    for method, row in zip(EIGHT, compared["runs"], strict=True):
        predictions = runs[row["run"]].rows("predictions").to_pylist()
        assert len({prediction["user_id"] for prediction in predictions}) == len(predictions) == PREDICTED
        assert {prediction["status"] for prediction in predictions} == {"ok"}
        assert all(prediction["prediction"] for prediction in predictions)
        assert row["coverage"]["users_by_method"] == {method: PREDICTED}
        assert {"rouge1", "rougeL", "bleu", "meteor"} <= set(row["metrics"])
    for stage in ("users", "retrieved", "items", "embeddings"):
        assert len({job.stage(stage).uri for name, job in runs.items() if name.endswith(("-dpl", "persona-db"))}) == 1
    assert {len(row["peers"]) for row in runs["all-cicl"].rows("contexts").to_pylist()} == {1}
    assert {len(row["peers"]) for row in runs["all-persona-db"].rows("contexts").to_pylist()} == {3}
    profiles = {row["user_id"]: len(row["profile"]) for row in runs["all-llm-trsr"].rows("users").to_pylist()}
    assert {
        row["user_id"]: len(row["profile"]) for row in runs["all-llm-trsr"].rows("contexts").to_pylist()
    } == profiles


@pytest.fixture(scope="module")
def swept(tmp_path_factory, sample, ray_here):
    """Three methods at two temperatures, the extractor always at one; what was printed, and the calls."""
    job = ScriptedJob(
        tmp_path_factory.mktemp("sweep"),
        sample,
        name="swept",
        method=["nonperso", "intsum", "dpl"],
        sampling={"temperature": [0.2, 0.8], "extractor": {"temperature": 0}},
    )
    done = job.run_here("sweep")
    assert done.returncode == 0, done.stderr
    return job, done, job.calls()


def test_a_sweep_makes_the_calls_that_cannot_be_shared_and_no_other(swept):
    job, _, calls = swept
    _, runs = runs_of(job)
    comparisons = runs["swept-dpl-temperature0.2"].rows("comparisons").num_rows
    assert comparisons > USERS
    nonperso, intsum, dpl = USERS, 2 * USERS, 2 * USERS
    assert len(calls) == 2 * (nonperso + intsum + dpl) + comparisons


def test_a_sweep_starts_its_model_once_for_all_runs_and_levels(swept):
    """Extraction at one level and six times predictions at the next: one engine, since all ask the same model."""
    job, done, _ = swept
    assert job.engine_starts() == 1
    assert done.stdout.count("\npredictions: ") == 6


def test_it_says_beforehand_what_will_be_made(swept):
    _, done, _ = swept
    table = {line.split("│")[1].strip(): line.split("│")[2:6] for line in done.stdout.splitlines() if "│" in line}
    counts = {stage: [int(cell) for cell in cells] for stage, cells in table.items() if stage in ("users", *SHARED)}
    assert counts == {"users": [6, 1, 0, 1], **SHARED}
    assert done.stdout.index("to be made") < done.stdout.index("Run swept-nonperso-temperature0.2")


SHARED = {
    "contexts": [6, 2, 0, 2],
    "differences": [2, 1, 0, 1],
    "predictions": [6, 6, 0, 6],
}


def test_means_over_the_temperatures_stand_beside_the_runs(swept):
    job, _, _ = swept
    compared, _ = runs_of(job)
    assert [(row["choices"], row["runs"]) for row in compared["means"]] == [
        ({"method": method}, 2) for method in ("nonperso", "intsum", "dpl")
    ]
    for row in compared["means"]:
        of_method = [
            each["metrics"] for each in compared["runs"] if each["choices"]["method"] == row["choices"]["method"]
        ]
        assert row["metrics"]["rouge1"] == pytest.approx(sum(each["rouge1"] for each in of_method) / 2)


def test_compare_takes_a_finished_sweeps_file_and_the_folder_of_one_of_its_runs(swept):
    job, _, _ = swept
    out, folder = job.folder / "compared.json", job.results.at("runs", "swept-dpl-temperature0.2")
    done = job.run_here("compare", folder.uri, "--draws", "200", "--json", str(out))
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    assert document["runs"] == ["swept-nonperso", "swept-intsum", "swept-dpl", "swept-dpl-temperature0.2"]
    assert document["users"]["n"] == USERS
    compared, _ = runs_of(job)
    for row in compared["means"]:
        for name, mean in row["metrics"].items():
            found = document["metrics"][name]["runs"][f"swept-{row['choices']['method']}"]["mean"]
            assert found == (None if mean is None else pytest.approx(mean))
    for row in compared["runs"]:
        if row["run"] == "swept-dpl-temperature0.2":
            found = document["metrics"]["bleu"]["runs"][row["run"]]["mean"]
            assert found == pytest.approx(row["metrics"]["bleu"])


def test_a_finished_sweep_makes_no_call_and_a_longer_one_only_the_new_ones(swept):
    job, _, calls = swept
    again = job.run_here("sweep")
    assert "Nothing to do" in again.stdout and job.calls() == calls
    longer = job.run_here("sweep", "--set", "method=[nonperso, rag]", "--set", "sampling.temperature=[0.2]")
    assert longer.returncode == 0, longer.stderr
    assert len(job.calls()) == len(calls) + USERS


def test_error_rows_that_runs_share_are_tried_again_once(tmp_path, sample, ray_here):
    job = ScriptedJob(tmp_path, sample, method="drp", differences={"source": ["validated", "raw"]}, users={"limit": 4})
    job.script(refuse=["Task: find out"])
    assert job.run_here("sweep").returncode == 3
    asked = len(job.calls())
    again = job.run_here("sweep", "--retry-errors")
    assert again.returncode == 3, again.stderr
    _, runs = runs_of(job)
    comparisons = runs["scripted-raw"].rows("comparisons").num_rows
    assert len(job.calls()) == asked + comparisons, "predictions were made from contexts that are the same"


def test_a_run_that_is_complete_has_its_result_though_a_later_one_fails(tmp_path, sample, ray_here):
    broken = {"engine": "tests.fakes:NoSuchEngine", "id": "none"}
    scripted = ScriptedJob(tmp_path, sample, method="nonperso", users={"limit": 4})
    scripted.settings["models"] |= {"broken": broken}
    scripted.settings["roles"] = {"generator": ["llm", "broken"]}
    scripted.file.write_text(json.dumps(scripted.settings))
    done = scripted.run_here("sweep")
    assert done.returncode == 2 and "has no class NoSuchEngine" in done.stderr
    assert scripted.results.at("runs", "scripted-llm").read("metrics.json")


def test_a_dry_run_writes_nothing(tmp_path, sample):
    job = ScriptedJob(tmp_path, sample, method=["nonperso", "rag"])
    done = job.run_here("sweep", "--dry-run")
    assert done.returncode == 0
    assert "2 runs: scripted-nonperso, scripted-rag" in done.stdout
    assert not (tmp_path / "results").exists()
