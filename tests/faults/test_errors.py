"""Rows that cannot be answered: error rows, exit code 3, and what --retry-errors does and does not do again."""

import re

import pyarrow.parquet as pq

from tests.end_to_end.conftest import assert_whole
from tests.faults.conftest import ScriptedJob


def text_of_one_review(job) -> str:
    """A sentence that only the prompts about one (user, item) pair hold."""
    return job.rows("comparisons").to_pylist()[0]["review"]["text"]


def test_error_rows_do_not_fail_the_job_and_retrying_computes_only_them_and_what_follows(prepared):
    job = prepared
    assert job.run_here("run", "--until", "comparisons").returncode == 0
    refused = text_of_one_review(job)
    job.script(refuse=[refused])
    done = job.run_here("run")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "--retry-errors" in done.stdout
    errors = [row for row in job.rows("differences").to_pylist() if row["status"] == "error"]
    assert errors and all("told to refuse" in row["error"] for row in errors)
    assert len(job.rows("predictions")) == 16

    calls_before = len(job.calls())
    assert job.run_here("run").returncode == 3
    assert len(job.calls()) == calls_before

    before = job.contents()
    predicted = {row["user_id"]: row for row in job.rows("predictions").to_pylist()}
    job.script()
    again = job.run_here("run", "--retry-errors")
    assert again.returncode == 0, again.stdout + again.stderr
    assert_whole(job, users=16)
    after = job.contents()
    with_errors = {row["user_id"] for row in errors}
    changed_parts = {key for key in before if key in after and before[key] != after[key] and key[1] != "manifest.json"}
    assert {stage for stage, _ in changed_parts} <= {"differences", "contexts", "predictions", "scores"}
    assert len([key for key in changed_parts if key[0] == "differences"]) <= len(errors)
    for row in job.rows("predictions").to_pylist():
        if row["user_id"] in with_errors:
            assert row["n_differences"] >= predicted[row["user_id"]]["n_differences"]
    retried = [row for row in job.rows("differences").to_pylist() if row["attempts"] > 1]
    assert {(row["user_id"], row["item_id"]) for row in retried} == {(row["user_id"], row["item_id"]) for row in errors}


def test_an_allowed_rate_of_errors_is_a_success(prepared):
    prepared.script(refuse=["user"])
    done = prepared.run_here("run", "--set", "runtime.max_error_rate=1.0")
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in prepared.rows("predictions").to_pylist()} == {"error"}
    assert prepared.metrics()["scored"]["rouge1"] == 0
    assert "missing" in done.stdout


def test_a_row_that_kills_engines_is_set_aside_and_all_others_are_answered(tmp_path, sample, ray_here):
    user = pq.read_table(sample / "users" / "part-00000.parquet").to_pylist()[3]
    job = ScriptedJob(tmp_path, sample, method="rag", retrieval={"n": 20})
    job.script(kill_engine=[user["profile"][0]["text"]])
    done = job.run_here("run")
    assert done.returncode == 3, done.stdout + done.stderr
    rows = job.rows("predictions").to_pylist()
    assert [row["user_id"] for row in rows if row["status"] == "error"] == [user["user_id"]]
    assert "died" in next(row["error"] for row in rows if row["status"] == "error")


def test_every_distinct_text_is_embedded_once_in_a_whole_run(scripted, ray_here):
    assert scripted.run_here("run").returncode == 0
    embedded = scripted.embedding_log.read_text().splitlines()
    texts = {review["text"] for item in scripted.rows("items").to_pylist() for review in item["reviews"]}
    assert len(embedded) == len(set(embedded)) == len(texts)


def test_worker_processes_that_die_are_replaced_and_a_part_that_kills_them_is_named(scripted):
    scripted.script(kill_process=["[Review]"])
    done = scripted.run("run", "--set", "method=nonperso")
    assert done.returncode == 1, done.stdout + done.stderr
    told = re.search(r"worker processes died while they worked on part-\d{5}.parquet", done.stderr)
    assert told, done.stdout + done.stderr
    assert "unfinished" in next(
        line
        for line in scripted.run_here("status", "--set", "method=nonperso").stdout.splitlines()
        if "predictions" in line
    )
