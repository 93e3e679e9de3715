"""The file of a report: what is in it, what is not, and that nothing but the runs decides."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drp_ray.errors import BadInput
from drp_ray.job.finished import open_groups, open_run
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import commit_part, read_part
from drp_ray.viewer.document import document, read_document, reason
from drp_ray.viewer.index import _scores, to_json
from drp_ray.viewer.measures import written
from drp_ray.viewer.page import app, policy
from drp_ray.viewer.report import ReportOptions, write_into
from tests.viewer.made_run import MadeRun
from tests.viewer.pages import group_of, pieces, read, resolved, user, write

HOSTILE = "</script><img src=x onerror=alert(1)><!-- \u2028 \u202e end \" ' & </textarea>]]> \x00"


def folder_of(path: Path) -> LocalFolder:
    return LocalFolder(path)


def made(path: Path, **options) -> LocalFolder:
    return MadeRun(folder_of(path), **options).write()


def test_a_report_holds_every_users_texts_of_every_run(tmp_path):
    runs = [made(tmp_path, name="first"), made(tmp_path, name="second", method="rag")]
    page = read(write(tmp_path / "report.html", runs))
    assert list(page.users) == [f"user-{number:05d}" for number in range(12)]
    for run, folder in enumerate(runs):
        opened = open_run(folder)
        for row in (row for part in opened.parts("predictions") for row in part.to_pylist()):
            found = pieces(page, row["user_id"], run, "prediction")
            assert (found["prediction"], found["summary"]) == (row["prediction"], row["summary"])
        for row in (row for part in opened.parts("contexts") for row in part.to_pylist()):
            found = pieces(page, row["user_id"], run, "context")
            assert found["reference"] == row["reference"] and found["target"] == row["target"]
            assert [entry["text"] for entry in found["history"]] == [entry["text"] for entry in row["history"]]
    assert "comparisons" not in user(page, "user-00003")["runs"][1]


def test_a_comparison_finds_its_representatives_which_are_stored_once(tmp_path):
    page = read(write(tmp_path / "report.html", [made(tmp_path)]))
    opened = open_run(folder_of(tmp_path).at("runs", "first"))
    rows = [row for part in opened.parts("comparisons") for row in part.to_pylist()]
    for row in rows:
        ours = next(
            each for each in pieces(page, row["user_id"], 0, "comparisons") if each["item_id"] == row["item_id"]
        )
        bundle = resolved(*page.items[row["item_id"]])
        item = next(each for each in bundle["items"] if each["item_id"] == row["item_id"])
        peers = {peer["key"]: peer for peer in item["peers"]}
        found = [(peers[each["peer"]]["text"], each["cluster"]) for each in ours["representatives"]]
        assert found == [(peer["text"], peer["cluster"]) for peer in row["representatives"]]
    texts = [text for _, texts in page.items.values() for text in texts]
    shared = {peer["text"] for row in rows for peer in row["representatives"]}
    bundles = {tuple(address) for address in page.index["items"]["at"]}
    assert len(shared) * 2 < sum(len(row["representatives"]) for row in rows)
    assert max(texts.count(text) for text in shared) <= len(page.items)
    assert len(bundles) < len(page.items)


def test_differences_say_what_validation_did(tmp_path):
    page = read(write(tmp_path / "report.html", [made(tmp_path)]))
    [one, *_] = pieces(page, "user-00003", 0, "differences")
    assert [(each["name"], each["state"]) for each in one["differences"]] == [
        ("Tonality", "changed"),
        ("Breadthwise", "kept"),
        ("Granularity", "removed"),
    ]
    assert one["differences"][0]["was"]["description"] != one["differences"][0]["description"]
    [thought] = [
        each for each in pieces(page, "user-00003", 0, "difference_thoughts") if each["item_id"] == one["item_id"]
    ]
    assert thought["thinking"] and thought["role"] == "extractor"


def test_reasoning_that_was_kept_of_other_rows_is_not_shown(tmp_path):
    folder = made(tmp_path)
    stage = open_run(folder).stages["predictions"]
    kept = read_part(stage.at("kept"), "part-00001.parquet").rows
    commit_part(stage.at("kept"), "part-00001.parquet", kept, {}, "of rows that were made again since")
    page = read(write(tmp_path / "report.html", [folder]))
    having = {name for name in page.users if "prediction_thoughts" in user(page, name)["runs"][0]}
    assert having == set(page.users) - {f"user-{number:05d}" for number in range(5, 10)}


def test_equal_runs_give_equal_bytes(tmp_path):
    runs = [made(tmp_path, name="first"), made(tmp_path, name="second", skill=0.1)]
    first, second = (write(tmp_path / name, runs, sample=8) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def without_cost(path: Path) -> str:
    """The whole file, without the section of tokens and time: that is about the parts themselves."""
    section = r'<section class="part" aria-labelledby="heading-cost">.*?</section>'
    page, found = re.subn(section, "", path.read_text(), flags=re.DOTALL)
    assert found == 1
    return page


def test_neither_the_order_of_rows_nor_the_parts_matter(tmp_path):
    options = {"has_controls": True, "has_embeddings": True, "judged": {"judge": 6.0}}
    options |= {"failed": {"user-00002": "too long: 9"}, "failed_differences": {"user-00004": "too long: 9"}}
    other = {**options, "backwards": True, "rows_per_part": 3}
    plain, moved = (
        write(
            tmp_path / f"{place}.html",
            [made(tmp_path / place, name="first", **each), made(tmp_path / place, name="second", skill=0.1, **each)],
            sample=8,
        )
        for place, each in (("a", options), ("b", other))
    )
    assert without_cost(plain) == without_cost(moved)


def test_a_failed_row_is_shown_as_failed_with_its_reason_and_has_no_score(tmp_path):
    failed, half = {"user-00002": "refused by the engine: no"}, {"user-00004": "too long: 9 tokens"}
    options = {"failed": failed, "failed_differences": half, "has_controls": True, "judged": {"judge": 6.0}}
    path = write(tmp_path / "r.html", [made(tmp_path, **options)])
    page = read(path)
    run, place = page.index["runs"][0], page.index["users"]["id"].index("user-00002")
    assert run["state"][place] == "error" and {"rouge1", "bleu", "judge", "author_words"} <= set(run["scores"])
    assert {values[place] for values in run["scores"].values()} == {None}
    assert run["prediction_chars"][place] is None
    assert pieces(page, "user-00002", 0, "prediction")["error"] == "refused by the engine: no"
    assert [each["status"] for each in pieces(page, "user-00004", 0, "differences")] == ["error", "ok", "ok"]
    assert "refused by the engine: no" in page.before and "too long: 9 tokens" in page.before


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
@example([0.123449999])
def test_the_page_rounds_the_scores_themselves(scores):
    kept = json.loads(json.dumps(_scores(np.array([*scores, np.nan]), [*range(len(scores) + 1), None])))
    assert [written("rouge1", each) for each in kept[:-2]] == [written("rouge1", each) for each in scores]
    assert kept == [*scores, None, None]


NO_TEXT = {"user_id", "item_id", "method", "fallback", "status", "finish_reason", "role", "text_id"}
"""Columns of ids and of words of this package; whatever else is a string is text."""


def texts_of(folder: LocalFolder) -> set[str]:
    """Every text of every part."""
    found = set()

    def walk(value, field):
        if isinstance(value, dict):
            for name, child in value.items():
                walk(child, name)
        elif isinstance(value, list):
            for child in value:
                walk(child, field)
        elif isinstance(value, str) and field not in NO_TEXT:
            found.add(value)

    for path in folder.path.rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            walk(row, "")
    return {text for text in found if len(text) > 3}


def five_grams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[start : start + 5]) for start in range(len(words) - 4)}


def test_without_texts_no_text_is_left_anywhere(tmp_path):
    quoted = "refused by the engine: the prompt was seldom have I parted with my money"
    runs = [
        made(tmp_path, failed={"user-00002": quoted}, failed_differences={"user-00004": quoted}),
        made(tmp_path, name="second", method="rag"),
    ]
    with_texts, without = (read(write(tmp_path / f"{kept}.html", runs, with_texts=kept)) for kept in (True, False))
    texts = texts_of(folder_of(tmp_path))
    assert len(texts) > 300

    def everything(page) -> str:
        documents = [*page.users.values(), *page.items.values()]
        return "\n".join([page.before, *(str(structure) + "\n".join(texts) for structure, texts in documents)])

    searched, grams = everything(without), set().union(*map(five_grams, texts))
    assert [text for text in texts if text in searched] == []
    assert five_grams(searched) & grams == set()
    # The search itself finds texts where they are.
    assert sum(text in everything(with_texts) for text in texts) > 300
    assert five_grams(everything(with_texts)) & grams
    assert all(texts == [] for _, texts in [*without.users.values(), *without.items.values()])
    assert without.index["runs"] == with_texts.index["runs"]
    assert pieces(without, "user-00002", 0, "prediction")["error"] == "refused by the engine"
    states = [each["state"] for each in pieces(without, "user-00003", 0, "differences")[0]["differences"]]
    assert states == ["changed", "kept", "removed"]


def test_what_follows_a_reason_may_be_a_quotation():
    assert reason("no usable reply: extractor: the reply is empty") == "no usable reply"
    assert reason("stopped") == "stopped"


def test_hostile_texts_and_ids_end_no_element(tmp_path):
    texts = {f"<!--<{number:05d}": HOSTILE for number in range(12)}
    path = write(tmp_path / "r.html", [made(tmp_path, prefix="<!--<", texts=texts, failed={"<!--<00002": HOSTILE})])
    page, whole = read(path), path.read_text()
    assert user(page, "<!--<00001")["pieces"]["0"]["reference"] == HOSTILE
    assert "<img" not in whole and "<!--" not in whole
    assert re.search(r'id="index">(.*?)</script>', page.before).group(1).isascii()
    assert whole.count("</script>") == whole.count("<script")


@given(st.one_of(st.just(HOSTILE), st.text()))
def test_the_index_gives_ids_back_and_ends_no_element(name):
    written = to_json({"users": {"id": [name]}})
    assert json.loads(written) == {"users": {"id": [name]}}
    assert written.isascii() and not {"<", ">", "&"} & set(written)


def test_the_app_may_stand_in_a_script_element_under_its_policy(tmp_path):
    code = app()
    assert "</script" not in code and "<!--" not in code
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://", code)
    page = write(tmp_path / "r.html", [made(tmp_path)]).read_text()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    assert f"<script>{code}</script>" in page
    assert f'content="{policy(style, code).replace(chr(39), "&#x27;")}"' in page
    assert "url(" not in style and "@import" not in style


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [made(tmp_path / "a"), made(tmp_path / "b", skill=0.1)]
    page = read(write(tmp_path / "r.html", runs))
    assert [run["name"] for run in page.index["runs"]] == ["first", "first-2"]


def test_a_user_of_one_run_alone_is_absent_in_the_other(tmp_path):
    page = read(write(tmp_path / "r.html", [made(tmp_path, n_users=12), made(tmp_path, name="few", n_users=8)]))
    assert page.index["runs"][1]["state"][8:] == [None] * 4
    assert user(page, "user-00011")["runs"][1] is None and user(page, "user-00003")["runs"][1]


def test_what_runs_share_is_read_and_stored_once(tmp_path):
    page = read(write(tmp_path / "r.html", [made(tmp_path), made(tmp_path, name="second", skill=0.1)]))
    first, second = user(page, "user-00003")["runs"]
    assert (first["context"], first["comparisons"]) == (second["context"], second["comparisons"])
    assert first["prediction"] != second["prediction"]


def test_what_is_no_finished_run_is_refused_with_what_to_do(tmp_path):
    folder = made(tmp_path)
    with pytest.raises(BadInput, match=r"no run\.json, so no run was made here"):
        open_groups([str(tmp_path)])
    stage = open_run(folder).stages["scores"]
    stage.delete("manifest.json")
    with pytest.raises(BadInput, match="scores is not complete"):
        open_run(folder)
    folder.delete("metrics.json")
    with pytest.raises(BadInput, match="scores is not complete"):
        open_run(folder)


def test_a_report_is_made_from_a_bucket_and_into_it(folder, request, monkeypatch):
    if folder.uri.startswith("s3://"):
        options = request.getfixturevalue("s3_server").options
        monkeypatch.setenv("AWS_ENDPOINT_URL", options.endpoint_url)
        monkeypatch.setenv("AWS_REGION", options.region)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", options.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options.secret_key)
    run = MadeRun(folder, n_users=6).write()
    address = write_into([group_of(run)], run, "report.html", ReportOptions())
    assert address == f"{run.uri}/report.html"
    assert run.read("report.html").startswith(b"<!doctype html>")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(), max_size=6), st.booleans())
def test_a_document_gives_its_texts_back(texts, are_kept):
    data = document({"user_id": "u", "entries": [{"text": text, "rating": 3} for text in texts]}, are_kept)
    structure, found = read_document(data)
    assert found == (list(dict.fromkeys(texts)) if are_kept else [])
    kept = [entry["text"] for entry in resolved(structure, found)["entries"]]
    assert kept == (texts if are_kept else [None] * len(texts))
