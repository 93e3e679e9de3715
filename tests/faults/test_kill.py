"""A job that is killed, in whole or in parts, while the real engine makes differences; and the same command again."""

import json
import os
import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest

from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import read_committed, read_manifest
from tests.end_to_end.conftest import Job, assert_whole
from tests.faults.conftest import ScriptedJob

WAIT_S = 300


def start(job: Job, *arguments: str) -> subprocess.Popen:
    log = (job.folder / "output").open("a")
    command = job.command("run", *arguments)
    return subprocess.Popen(command, env=job.env, cwd=job.folder, stdout=log, stderr=subprocess.STDOUT)


def wait_for_parts(folder: LocalFolder, count: int, job: subprocess.Popen) -> dict[str, bytes]:
    """Wait until so many parts are committed; what they hold."""
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        names = [entry.name for entry in folder.entries() if entry.name.startswith("part-")]
        if len(names) >= count:
            return {name: folder.read(name) for name in names}
        assert job.poll() is None, "the job ended too early"
        time.sleep(0.1)
    raise AssertionError(f"{folder.uri}: no {count} parts in {WAIT_S} s")


def kill_with_children(process: subprocess.Popen) -> None:
    """SIGKILL the driver and every process of Ray and of the engine that it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)
    process.wait()


def engine_core(job: subprocess.Popen) -> psutil.Process:
    """The process in which vLLM computes."""
    return next(
        child
        for child in psutil.Process(job.pid).children(recursive=True)
        if any("EngineCore" in word for word in child.cmdline())
    )


@pytest.fixture
def job(tmp_path, settings, sample, compared) -> ScriptedJob:
    """The real engine makes the differences, which is where the job is killed, and the scripted one the rest."""
    settings["models"]["llm"]["concurrency"] = 6
    scripted = {"engine": "tests.fakes:ScriptedEngine", "id": str(tmp_path / "script")}
    return ScriptedJob(
        tmp_path,
        sample,
        after=compared,
        sampling={"max_tokens": 96},
        models={"llm": settings["models"]["llm"], "scripted": scripted},
        roles={"extractor": "llm", "validator": "llm", "summarizer": "scripted", "generator": "scripted"},
    )


def test_a_killed_engine_and_then_a_killed_job_lose_nothing_that_was_committed(job):
    folder = job.where("differences")
    running = start(job)
    wait_for_parts(folder, 1, running)
    engine_core(running).kill()
    committed = wait_for_parts(folder, 4, running)
    kill_with_children(running)
    committed |= {name: folder.read(name) for name in committed}
    total = len(read_manifest(folder).parts)
    whole = read_committed(folder, [entry.name for entry in folder.entries() if entry.name.startswith("part-")])
    assert 4 <= len(whole) < total, "the job was to be killed in the middle"
    unfinished = job.run_here("status").stdout
    assert "unfinished" in next(line for line in unfinished.splitlines() if "differences" in line)
    before = {name: folder.read(name) for name in whole}

    again = job.run_here("run")
    assert again.returncode == 0, again.stdout + again.stderr
    assert_whole(job, users=16)
    assert {name: folder.read(name) for name in before} == before
    assert {name: before[name] for name in committed} == committed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_job_and_the_same_command_continues(prepared, number, code):
    prepared.script(delay_s=0.5)
    folder = prepared.where("differences")
    running = start(prepared, "--set", "models.llm.concurrency=1")
    wait_for_parts(folder, 1, running)
    os.kill(running.pid, number)
    assert running.wait(timeout=60) == code
    names = [entry.name for entry in folder.entries() if entry.name.startswith("part-")]
    before = {name: folder.read(name) for name in names}
    assert "the same command continues" in (prepared.folder / "output").read_text()
    assert [entry.name for entry in folder.entries() if entry.name == "lease.json"] == []

    prepared.script()
    assert prepared.run_here("run").returncode == 0
    assert {name: folder.read(name) for name in before} == before
    assert_whole(prepared, users=16)


def test_a_run_within_a_budget_that_is_killed_in_a_wave_goes_on_with_that_wave(tmp_path, sample):
    job = ScriptedJob(tmp_path, sample, method="rag", budget={"tokens": 10**9})
    ledger = job.folder / "results" / "sample" / "runs" / "scripted" / "budget.json"
    job.script(delay_s=0.5)
    running = start(job, "--set", "models.llm.concurrency=1")
    give_up = time.monotonic() + WAIT_S
    while not ledger.exists() or json.loads(ledger.read_bytes())["sizes"] != [8, 16]:
        assert running.poll() is None and time.monotonic() < give_up, "there was to be a second wave"
        time.sleep(0.1)
    of_first_wave = Counter(job.calls())
    folder = job.where("predictions")
    committed = wait_for_parts(folder, 1, running)
    kill_with_children(running)
    before = ledger.read_bytes()
    assert len(committed) < len(read_manifest(folder).parts), "it was to be killed in the middle of the wave"

    job.script()
    assert job.run_here("run").returncode == 0
    assert ledger.read_bytes() == before
    assert {name: folder.read(name) for name in committed} == committed
    predictions = job.rows("predictions")
    assert len(set(predictions["user_id"].to_pylist())) == predictions.num_rows == 16
    assert set(predictions["status"].to_pylist()) == {"ok"}
    in_all = Counter(job.calls())
    assert {prompt: in_all[prompt] for prompt in of_first_wave} == of_first_wave


def test_a_second_job_on_the_same_stages_says_so_and_stops(prepared):
    prepared.script(delay_s=1)
    folder = prepared.where("differences")
    running = start(prepared, "--set", "models.llm.concurrency=1")
    wait_for_parts(folder, 1, running)
    second = prepared.run_here("run")
    assert second.returncode == 1
    assert f"process {running.pid}" in second.stderr and "--no-lease" in second.stderr
    prepared.script()
    assert running.wait(timeout=WAIT_S) == 0
    assert_whole(prepared, users=16)
