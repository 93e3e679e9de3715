"""The quickstart's shape on this machine: real embeddings, the real engine, a Ray of its own."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.end_to_end.conftest import STAGES, Job, assert_whole
from tests.viewer.pages import pieces
from tests.viewer.pages import read as read_page


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sample, tiny_model):
    """A job that ran once, and what it printed."""
    from tests.end_to_end import conftest

    folder = tmp_path_factory.mktemp("local")
    settings = conftest.settings.__wrapped__(sample, tiny_model)
    job = Job(folder, {**settings, "root": str(folder / "results")})
    return job, job.run("run")


def test_it_finishes_with_every_row_once(finished):
    job, done = finished
    assert done.returncode == 0, done.stderr
    assert_whole(job, users=16)


def test_it_says_what_a_newcomer_needs_and_nothing_else(finished):
    _, done = finished
    assert done.stderr == ""
    assert "its text is noise" in done.stdout
    for stage in STAGES:
        assert re.search(rf"^{stage}: [\d,]+ rows in [\d,]+ parts", done.stdout, re.MULTILINE), stage


def test_the_pairs_compared_are_those_retrieved(finished):
    job, _ = finished
    users = {row["user_id"]: row for row in job.rows("users").to_pylist()}
    asked = {
        (row["user_id"], users[row["user_id"]]["profile"][position]["item_id"], rank)
        for row in job.rows("retrieved").to_pylist()
        for rank, position in enumerate(row["eligible"])
    }
    for stage in ("comparisons", "differences"):
        rows = job.rows(stage).select(["user_id", "item_id", "rank"]).to_pylist()
        assert {tuple(row.values()) for row in rows} == asked


def test_nobody_is_compared_with_themself_or_with_someone_of_another_item(finished):
    job, _ = finished
    texts = {
        (review["item_id"], user["user_id"]): review["text"]
        for user in job.rows("users").to_pylist()
        for review in user["profile"]
    }
    for pair in job.rows("comparisons").to_pylist():
        assert pair["review"]["text"] == texts[pair["item_id"], pair["user_id"]]
        for representative in pair["representatives"]:
            assert representative["user_id"] != pair["user_id"]
            assert representative["cluster"] != pair["cluster"]
            assert representative["text"] == texts[pair["item_id"], representative["user_id"]]


def test_every_distinct_text_is_embedded_once_and_for_real(finished):
    job, _ = finished
    reviews = [review for item in job.rows("items").to_pylist() for review in item["reviews"]]
    embedded = job.rows("embeddings")
    assert sorted(embedded["text_id"].to_pylist()) == sorted({review["text_id"] for review in reviews})
    assert len({review["text"] for review in reviews}) == embedded.num_rows
    vectors = np.array(embedded["vector"].to_pylist())
    assert vectors.shape[1] == 384 and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_contexts_hold_the_history_by_rank_and_hide_the_reference(finished):
    job, _ = finished
    users = {row["user_id"]: row for row in job.rows("users").to_pylist()}
    retrieved = {row["user_id"]: row["history"] for row in job.rows("retrieved").to_pylist()}
    differences = job.rows("differences").to_pylist()
    for context in job.rows("contexts").to_pylist():
        user = users[context["user_id"]]
        assert "text" not in context["target"]
        assert context["reference"] == user["target"]["text"]
        expected = [user["profile"][position]["text"] for position in retrieved[context["user_id"]]]
        assert [entry["text"] for entry in context["history"]] == expected
        of_user = sorted((row["rank"], row["validated"]) for row in differences if row["user_id"] == context["user_id"])
        assert [(entry["rank"], entry["text"]) for entry in context["differences"]] == of_user


def test_scores_are_those_of_the_predictions(finished):
    import sacrebleu

    job, _ = finished
    predictions = job.rows("predictions").to_pylist()
    metrics = job.metrics()
    bleu = sacrebleu.corpus_bleu(
        [row["prediction"] for row in predictions], [[row["reference"] for row in predictions]]
    )
    assert metrics["metrics"]["bleu"] == pytest.approx(bleu.score)
    assert {"rouge1", "rougeL", "bleu", "meteor"} <= metrics["scored"].keys()
    assert set(metrics["scored"].values()) == {16}
    assert set(metrics["signatures"]) == set(metrics["metrics"])


def test_the_report_is_in_the_runs_folder_and_its_path_is_printed(finished):
    job, done = finished
    assert f"report {job.run_folder.uri}/report.html" in done.stdout
    page = read_page(Path(job.run_folder.uri) / "report.html")
    assert list(page.users) == sorted(job.rows("users")["user_id"].to_pylist())
    predictions = {row["user_id"]: row["prediction"] for row in job.rows("predictions").to_pylist()}
    assert {name: pieces(page, name, 0, "prediction")["prediction"] for name in page.users} == predictions
    before = job.run_folder.read("report.html")
    assert job.run_here("report").stdout == f"{job.run_folder.uri}/report.html\n"
    assert job.run_folder.read("report.html") == before
    out = job.folder / "numbers.html"
    assert job.run_here("report", "--no-text", "--sample", "5", "--out", str(out)).returncode == 0
    assert len(read_page(out).users) >= 5 and not read_page(out).index["has_texts"]


def test_running_again_does_nothing(finished):
    job, first = finished
    before = job.contents()
    again = job.run_here("run")
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert again.stdout.partition("metric")[2] == first.stdout.partition("metric")[2]
    assert job.contents() == before


def test_status_counts_what_is_there(finished):
    job, _ = finished
    done = job.run_here("status")
    assert done.returncode == 0
    for stage in STAGES:
        line = next(line for line in done.stdout.splitlines() if f" {stage} " in line)
        assert " done " in line
    assert re.search(r"predictions .* 2/2 .* 16/16 ", done.stdout)


def test_another_setting_under_the_same_name_is_refused(finished):
    job, _ = finished
    done = job.run_here("run", "--set", "sampling.temperature=0.1")
    assert done.returncode == 2
    assert "temperature" in done.stderr and "0.8" in done.stderr and "0.1" in done.stderr


def test_where_prints_the_folder_and_nothing_else(finished):
    job, _ = finished
    assert job.run("where", "items").stdout == f"{job.stage('items').uri}\n"
    for stage in ("users", "differences", "scores"):
        assert job.run_here("where", stage).stdout == f"{job.stage(stage).uri}\n"


def test_run_json_names_what_was_used(finished):
    job, _ = finished
    run = yaml.safe_load(job.run_folder.read("run.json"))
    assert run["config"]["selection"]["k"] == 2
    assert run["libraries"]["ray"] and set(run["stages"]) == set(STAGES)
