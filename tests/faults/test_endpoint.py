"""Jobs whose endpoint misbehaves: it refuses, it has no money left, it sends what is no reply."""

import json

import pytest
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.storage.parts import read_committed
from tests.endpoints import error, reply, served
from tests.faults.conftest import ScriptedJob

NO_MONEY = (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), {})
MISBEHAVIOURS = {
    "half a reply": (200, json.dumps(reply())[:40], {}),
    "lone surrogate": (200, json.dumps(reply("x")).replace('"x"', '"a \\ud800 b"'), {}),
    "content is an object": (200, reply({"text": "Hi"}), {}),
    "no message": (200, {**reply(), "choices": [{"index": 0, "message": None, "finish_reason": "stop"}]}, {}),
    "tokens in words": (200, reply(usage={"prompt_tokens": "many", "completion_tokens": 1, "total_tokens": 1}), {}),
    "broken off": (200, '{"a"', {"Content-Length": "999", "Connection": "close"}),
    "never ends": (200, reply("Hi" * 5000), {"Drip-S": "0.2"}),
}


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


def misbehaving(server):
    """Each kind for one prompt, whenever it is asked; the other prompts are answered."""
    asked: dict[str, int] = {}

    def answer(body):
        prompt = body["messages"][-1]["content"]
        place = asked.setdefault(prompt, len(asked)) - 1  # the first is "Hi"
        return list(MISBEHAVIOURS.values())[place] if 0 <= place < len(MISBEHAVIOURS) else (200, reply(), {})

    server.answer = answer


def test_the_job_stops_when_the_money_runs_out_and_goes_on_later_and_misbehaviour_costs_its_own_rows(job, endpoint):
    """One job for both: the endpoint runs out of money, and when it has some it sends all kinds of bad replies."""
    answers_after(endpoint, 1 + 6, NO_MONEY)
    stopped = job.run("run")
    asked = len(endpoint.bodies)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert "exceeded your current quota" in stopped.stderr and "the same command continues" in stopped.stderr
    assert asked <= 1 + 6 + 4, f"{asked} requests"
    folder = job.stage("predictions")
    parts = read_committed(folder, [f"part-0000{number}.parquet" for number in range(4)])
    before = {name: folder.read(name) for name in parts}
    assert before

    misbehaving(endpoint)
    limits = {"models.gpt.timeout_s": 1, "models.gpt.max_retries": 0, "runtime.max_attempts": 2}
    done = job.run("run", *(word for key, value in limits.items() for word in ("--set", f"{key}={value}")))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in stopped.stderr + done.stderr
    assert {name: folder.read(name) for name in parts} == before
    rows = job.rows("predictions").to_pylist()
    failed = [row for row in rows if row["status"] == "error"]
    assert len({row["user_id"] for row in rows}) == len(rows) == 16
    assert len(failed) == len(MISBEHAVIOURS) and {row["attempts"] for row in failed} == {2}
    left = 16 - sum(part.rows for part in parts.values())
    assert len(endpoint.bodies) - asked == 1 + left + len(MISBEHAVIOURS)

    listed = CliRunner().invoke(app, ["errors", str(job.file)])
    assert listed.exit_code == 3, listed.output
    assert f"predictions: {len(MISBEHAVIOURS)} error rows of 16" in listed.output
    assert "no whole answer within" in listed.output and failed[0]["user_id"] in listed.output
