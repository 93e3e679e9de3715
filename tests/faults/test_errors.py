"""Rows that cannot be answered: error rows, exit code 3, and what --retry-errors does and does not do again."""

import pytest

from drp_ray.parts import read_manifest
from tests.end_to_end.conftest import assert_whole


def text_of_one_review(job) -> str:
    """A sentence that only the prompts about one (user, item) pair hold."""
    return job.rows("comparisons").to_pylist()[0]["review"]["text"]


def test_error_rows_do_not_fail_the_job_and_retrying_computes_only_them_and_what_follows(scripted):
    job = scripted
    first = job.run("run", "--set", "name=all-ok")
    assert first.returncode == 0, first.stderr
    refused = text_of_one_review(job)

    job.script(refuse=[refused], says="Other")
    job.settings["sampling"] = {"seed": 7}
    other = type(job)(job.folder, job.settings["dataset"], sampling={"seed": 7})
    other.script(refuse=[refused], says="Other")
    done = other.run("run")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "--retry-errors" in done.stdout
    errors = [row for row in other.rows("differences").to_pylist() if row["status"] == "error"]
    assert errors and all("told to refuse" in row["error"] for row in errors)
    assert len(other.rows("predictions")) == 16

    calls_before = len(other.calls())
    assert other.run("run").returncode == 3
    assert len(other.calls()) == calls_before

    before = other.contents()
    predicted = {row["user_id"]: row for row in other.rows("predictions").to_pylist()}
    other.script(says="Other")
    again = other.run("run", "--retry-errors")
    assert again.returncode == 0, again.stdout + again.stderr
    assert_whole(other, users=16)
    after = other.contents()
    with_errors = {row["user_id"] for row in errors}
    changed_parts = {key for key in before if key in after and before[key] != after[key] and key[1] != "manifest.json"}
    assert {stage for stage, _ in changed_parts} <= {"differences", "contexts", "predictions", "scores"}
    assert len([key for key in changed_parts if key[0] == "differences"]) <= len(errors)
    for row in other.rows("predictions").to_pylist():
        if row["user_id"] in with_errors:
            assert row["n_differences"] >= predicted[row["user_id"]]["n_differences"]
    retried = [row for row in other.rows("differences").to_pylist() if row["attempts"] > 1]
    assert {(row["user_id"], row["item_id"]) for row in retried} == {(row["user_id"], row["item_id"]) for row in errors}


def test_an_allowed_rate_of_errors_is_a_success(scripted):
    scripted.script(refuse=["user"])
    done = scripted.run("run", "--set", "runtime.max_error_rate=1.0")
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in scripted.rows("predictions").to_pylist()} == {"error"}
    assert scripted.metrics()["scored"]["rouge1"] == 0
    assert "missing" in done.stdout


def test_a_row_that_kills_engines_is_set_aside_and_all_others_are_answered(scripted):
    assert scripted.run("run", "--set", "method=nonperso", "--set", "name=before").returncode == 0
    target = scripted.rows("users").to_pylist()[3]
    job = scripted
    job.script(kill_engine=[target["profile"][0]["text"]])
    done = job.run("run", "--set", "retrieval.n=20")
    assert done.returncode == 3, done.stdout + done.stderr
    where = job.run("where", "predictions", "--set", "retrieval.n=20").stdout.strip()
    job._stages = {}
    from drp_ray.storage import LocalFolder
    from drp_ray.parts import read_part
    from pathlib import Path

    folder = LocalFolder(Path(where))
    rows = [row for part in read_manifest(folder).parts for row in read_part(folder, part.name).rows.to_pylist()]
    dead = [row["user_id"] for row in rows if row["status"] == "error"]
    assert dead == [target["user_id"]]
    assert all("died" in row["error"] for row in rows if row["status"] == "error")


def test_every_distinct_text_is_embedded_once_in_a_whole_run(scripted):
    assert scripted.run("run").returncode == 0
    embedded = scripted.embedding_log.read_text().splitlines()
    texts = {review["text"] for item in scripted.rows("items").to_pylist() for review in item["reviews"]}
    assert len(embedded) == len(set(embedded)) == len(texts)


def test_worker_processes_that_die_are_replaced_and_a_part_that_kills_them_is_named(scripted):
    scripted.script(kill_process=["[Review]"])
    done = scripted.run("run", "--set", "method=nonperso")
    assert done.returncode == 1
    assert "part-00000.parquet" in done.stderr and "worker processes died" in done.stderr
    with pytest.raises(AssertionError):
        scripted.rows("predictions")
