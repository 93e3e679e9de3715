"""Jobs whose endpoint misbehaves: it refuses, it has no money left, it sends what is no reply."""

import time

import pytest

from drp_ray.storage.parts import read_committed
from tests.endpoints import error, reply, served
from tests.faults.conftest import ScriptedJob

NO_MONEY = (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), {})


@pytest.fixture
def endpoint():
    with served() as server:
        yield server


@pytest.fixture
def job(tmp_path, sample, endpoint):
    """Four parts of four users, one call a user, one at a time."""
    model = {"engine": "openai", "id": "m", "base_url": endpoint.base_url, "concurrency": 1, "timeout_s": 20}
    return ScriptedJob(tmp_path, sample, method="nonperso", models={"gpt": model}, report=False)


def answers_after(server, count, answer):
    """Let the server answer so many chats, and all later ones with `answer`."""
    server.answer = lambda body: (200, reply(), {}) if len(server.bodies) <= count else answer


@pytest.mark.parametrize("status", [401, 404])
def test_a_key_or_model_that_may_not_chat_is_found_before_anything_is_made(job, endpoint, status):
    endpoint.answers((status, error("no luck today"), {}))
    done = job.run("run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "gpt: the endpoint does not answer a chat" in done.stderr and "no luck today" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (job.folder / "results").exists() or not list((job.folder / "results").rglob("*.parquet"))
    assert len(endpoint.bodies) == 1


def test_when_the_money_runs_out_the_job_stops_and_later_goes_on_where_it_was(job, endpoint):
    answers_after(endpoint, 1 + 6, NO_MONEY)
    began = time.monotonic()
    stopped = job.run("run")
    asked = len(endpoint.bodies)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert "exceeded your current quota" in stopped.stderr and "the same command continues" in stopped.stderr
    assert asked <= 1 + 6 + 4, f"{asked} requests"
    folder = job.stage("predictions")
    parts = read_committed(folder, [f"part-0000{number}.parquet" for number in range(4)])
    assert parts and time.monotonic() - began < 300
    before = {name: folder.read(name) for name in parts}

    endpoint.answers((200, reply(), {}))
    done = job.run("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: folder.read(name) for name in parts} == before
    assert {row["status"] for row in job.rows("predictions").to_pylist()} == {"ok"}
    assert len(endpoint.bodies) - asked == 1 + 16 - sum(part.rows for part in parts.values())
