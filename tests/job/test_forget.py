"""A person who is forgotten is in no file any more, and what is left is as fit for use as before."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from drp_ray import schema
from drp_ray.config import checked
from drp_ray.data.sample_files import write_sample
from drp_ray.engines.embedder import text_id
from drp_ray.errors import BadInput
from drp_ray.job.forget import JOURNAL, forget
from drp_ray.job.forget import result_again as made_again
from drp_ray.job.opened_job import open_job
from drp_ray.job.person import Person
from drp_ray.job.run import run
from drp_ray.job.run_record import recorded_config
from drp_ray.job.verify import verify
from drp_ray.storage import parts
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.lease import LeaseHeld, lease
from drp_ray.storage.parts import read_footer, read_manifest, read_part, read_rows

USERS = 16
SETTINGS = {
    "embedding": {"engine": "tests.fakes:HashEmbedder", "replicas": 1, "num_gpus": 0},
    "retrieval": {"n": 3},
    "selection": {"k": 2},
    "evaluation": {"controls": True},
    "runtime": {"num_cpus": 2, "rows_per_part": 6, "keep": ["prompts", "thinking"]},
}


def nothing(*_):
    pass


def result_again(run_folder):
    made_again(run_folder, nothing)


@pytest.fixture(scope="module")
def made(ray_here, tmp_path_factory):
    """The results of two runs that share stages: one compares with others, one shows the model their reviews."""
    folder = tmp_path_factory.mktemp("forget")
    write_sample(LocalFolder(folder / "sample"), USERS, seed=3)
    script = folder / "script"
    script.write_text(json.dumps({"log": str(folder / "log"), "answers": []}))
    for method in ("drp", "cicl"):
        settings = {
            **SETTINGS,
            "name": method,
            "method": method,
            "dataset": str(folder / "sample"),
            "root": str(folder / "results"),
            "models": {"llm": {"engine": "tests.fakes:ScriptedJudge", "id": str(script)}},
        }
        settings["embedding"] = {**SETTINGS["embedding"], "model": str(folder / "embedded")}
        run(open_job(checked(settings, "the test")), nothing)
    users = pa.concat_tables([pq.read_table(path) for path in sorted((folder / "sample" / "users").iterdir())])
    return SimpleNamespace(results=folder / "results", users=users.to_pylist())


@pytest.fixture
def root(made, tmp_path):
    """A copy of the results."""
    shutil.copytree(made.results, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture(scope="module")
def person(made):
    """Somebody who is a representative and whose reviews the model was shown in others' prompts."""
    parts = [pq.read_table(path) for path in sorted((made.results / "sample" / "comparisons").rglob("part-*"))]
    chosen = [each["user_id"] for part in parts for row in part.to_pylist() for each in row["representatives"]]
    peers = [pq.read_table(path) for path in sorted((made.results / "sample" / "peers").rglob("part-*"))]
    shown = {each["user_id"] for part in peers for row in part.to_pylist() for each in row["reviews"]}
    return max(sorted(shown), key=chosen.count)


def reviews_of(made, person):
    """What only this person wrote."""
    texts = {user["user_id"]: {review["text"] for review in (*user["profile"], user["target"])} for user in made.users}
    others = set().union(*(each for user, each in texts.items() if user != person))
    return texts[person] - others


def texts_in(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)
    elif isinstance(value, str):
        yield value


def everything_in(root):
    """Every text in every file, those in Parquet and inside prompts too, by file."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if path.suffix != ".parquet":
            yield path, path.read_text()
            continue
        for text in texts_in(pq.read_table(path).to_pylist()):
            yield path, text
            if text.startswith("[{"):
                yield path, "\n".join(texts_in(json.loads(text)))


def files(root):
    """What every file holds; the order of the keys of a JSON file says nothing."""
    return {
        str(path.relative_to(root)): json.loads(path.read_bytes()) if path.suffix == ".json" else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows_by_stage(root):
    return {
        path.parent.parent.name + path.parent.name: read_rows(LocalFolder(path.parent)).to_pylist()
        for path in sorted(root.rglob("manifest.json"))
    }


def test_the_person_was_everywhere_and_is_nowhere(made, root, person):
    theirs = reviews_of(made, person)
    before = {path.parent.parent.name for path, text in everything_in(root) if person in text}
    assert {"users", "retrieved", "items", "comparisons", "differences", "contexts", "predictions", "scores",
            "peers", "controls"} <= before  # fmt: skip
    shown = {
        path.parent.parent.parent.name
        for path, text in everything_in(root)
        if "kept" in path.parts and any(each in text for each in theirs)
    }
    assert {"differences", "predictions"} <= shown, "prompts of others hold their reviews"
    forget(LocalFolder(root), [person], 10, nothing, result_again)
    left = [
        (path, text[:200])
        for path, text in everything_in(root)
        if person in text or any(each in text for each in theirs)
    ]
    assert left == []
    ids = {text_id(text) for text in theirs}
    assert ids.isdisjoint(text for _, text in everything_in(root)), "nor are digests of their reviews"


def test_others_keep_their_rows(made, root, person):
    before = rows_by_stage(root)
    forget(LocalFolder(root), [person], 10, nothing, result_again)
    after = rows_by_stage(root)
    assert before.keys() == after.keys()
    for stage, rows in after.items():
        if "user_id" in rows[0]:
            assert [row["user_id"] for row in rows] == [
                row["user_id"] for row in before[stage] if row["user_id"] != person
            ]
    for stage in ("predictions", "scores", "retrieved"):
        for name in (name for name in after if name.startswith(stage)):
            assert after[name] == [row for row in before[name] if row["user_id"] != person]


def test_nothing_is_made_again_and_the_results_say_it(made, root, person):
    earlier = json.loads((root / "sample/runs/drp/metrics.json").read_text())
    forget(LocalFolder(root), [person], 10, nothing, result_again)
    for name in ("drp", "cicl"):
        config = recorded_config(record_of(root, name), "the test")
        job = open_job(config.model_copy(update={"root": str(root)}))
        assert verify(job, deep=True) == []
        said = []
        run(job, said.append)
        assert "Nothing to do" in said[0]
    metrics = json.loads((root / "sample/runs/drp/metrics.json").read_text())
    assert metrics["coverage"]["users_forgotten"] == 1
    assert "users_forgotten" not in earlier["coverage"]
    assert metrics["users"] == earlier["users"] - 1 == USERS - 1
    assert metrics["scored"]["rouge1"] == USERS - 1
    scores = read_rows(LocalFolder(root / "sample/scores" / record_of(root, "drp")["stages"]["scores"]["fingerprint"]))
    assert metrics["metrics"]["rouge1"] == pytest.approx(pc.mean(scores["rouge1"]).as_py())


def record_of(root, name):
    return json.loads((root / f"sample/runs/{name}/run.json").read_text())


def test_every_part_and_its_footer_and_the_manifests_agree(root, person):
    forget(LocalFolder(root), [person], 10, nothing, result_again)
    manifests = {path: read_manifest(LocalFolder(path.parent)) for path in root.rglob("manifest.json")}
    contents = {manifest.content for manifest in manifests.values()}
    for path, manifest in manifests.items():
        assert set(manifest.inputs.values()) <= contents
        assert manifest.totals["rows"] == sum(entry.rows for entry in manifest.parts)
        for entry in manifest.parts:
            part = read_part(LocalFolder(path.parent), entry.name)
            assert entry.digest == part.digest
            assert entry.facts == part.facts
            assert entry.rows == part.rows.num_rows


class Cut(Exception):
    pass


@dataclass(frozen=True)
class CutFolder(LocalFolder):
    """A folder whose process ends before a write, once so many were made in it and below."""

    writes: Iterator[int] = field(compare=False)

    def write(self, name, data):
        if next(self.writes, None) is None:
            raise Cut
        super().write(name, data)

    def at(self, *names):
        return CutFolder(self.path.joinpath(*names), self.writes)


def test_it_can_be_cut_short_at_every_write_and_goes_on(made, root, person, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(made.results, whole)
    forget(LocalFolder(whole), [person], None, nothing, nothing)
    cuts, done = 0, False
    while not done:
        try:
            forget(CutFolder(root, iter(range(3))), [person], None, nothing, nothing)
            done = True
        except Cut:
            cuts += 1
            assert (root / "sample" / JOURNAL).is_file() or cuts == 1
    assert cuts > 10
    assert files(root) == files(whole)


def test_once_is_as_good_as_twice_and_a_stranger_changes_nothing(root, person):
    before = files(root)
    found = forget(LocalFolder(root), ["nobody"], 10, nothing, result_again)
    assert files(root) == before
    assert not any(found["sample"].parts.values())
    forget(LocalFolder(root), [person], 10, nothing, result_again)
    once = files(root)
    forget(LocalFolder(root), [person], 10, nothing, result_again)
    assert files(root) == once


def test_a_removal_that_was_cut_short_is_finished_before_another(root, person, made):
    with pytest.raises(Cut):
        forget(CutFolder(root, iter(range(5))), [person], None, nothing, nothing)
    other = next(user["user_id"] for user in made.users if user["user_id"] != person)
    with pytest.raises(BadInput, match=f"the removal of '{person}' was cut short"):
        forget(LocalFolder(root), [other], None, nothing, nothing)


def test_whichever_name_was_being_removed_is_finished_first(root, person):
    with pytest.raises(Cut):
        forget(CutFolder(root, iter(range(5))), [person], None, nothing, nothing)
    forget(LocalFolder(root), ["another name", person], None, nothing, nothing)
    assert not (root / "sample" / JOURNAL).exists()
    assert not any(person in text for _, text in everything_in(root))


def test_reports_go_whatever_they_were_made_with(root, person):
    sweep = root / "sample/sweeps/all"
    sweep.mkdir(parents=True)
    pages = [root / "sample/runs/drp/report.html", sweep / "report.html"]
    for page in pages:
        page.write_text(f"what {person} wrote")
    said = []
    forget(LocalFolder(root), [person], 10, said.append, nothing)
    assert not any(page.exists() for page in pages)
    assert sum("drp-ray report writes it again" in line for line in said) == 2


def test_a_part_that_cannot_be_read_goes_and_hides_nobody(root, person):
    damaged = next((root / "sample/items").rglob("part-*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:500])
    said = []
    forget(LocalFolder(root), [person], 10, said.append, result_again)
    assert not damaged.exists()
    assert any(f"{damaged}" in line and "it was removed" in line for line in said)
    assert not any(person in text for _, text in everything_in(root))


def test_what_the_rows_were_made_with_stays(root, person, monkeypatch):
    before = made_with(root)
    monkeypatch.setattr(parts, "versions", lambda: {"ray": "another"})
    forget(LocalFolder(root), [person], 10, nothing, nothing)
    assert made_with(root) == before


def made_with(root):
    files = sorted((root / "sample").rglob("part-*.parquet"))
    return {str(file): read_footer(LocalFolder(file.parent), file.name).made_with for file in files}


def test_a_folder_on_which_a_job_works_is_left_alone(root, person):
    [folder, *_] = sorted((root / "sample/predictions").iterdir())
    with lease(LocalFolder(folder), 3), pytest.raises(LeaseHeld):
        forget(LocalFolder(root), [person], 3, nothing, nothing)


def test_without_the_dataset_the_numbers_go_and_the_scores_stay(root, person, monkeypatch):
    path = root / "sample/runs/drp/run.json"
    record = json.loads(path.read_text())
    record["config"]["dataset"] = str(root / "gone")
    path.write_text(json.dumps(record))
    forget(LocalFolder(root), [person], 10, nothing, result_again)
    assert not (root / "sample/runs/drp/metrics.json").exists()
    assert (root / "sample/runs/cicl/metrics.json").exists()


def test_a_text_that_is_somebodys_id_is_not_taken_for_them():
    call = {"user_id": "b", "item_id": "a", "status": "ok", "prediction": "a", "error": None}
    rows = pa.Table.from_pylist([call, {**call, "user_id": "a"}], schema.PREDICTIONS)
    left = Person("a").removed_from("predictions", rows)
    assert left.to_pylist() == rows.slice(0, 1).to_pylist()
    differences = [{"user_id": "b", "item_id": "a", "title": "a", "representatives": ["a", "c"], "extracted": "a"}]
    table = pa.Table.from_pylist(differences, schema.DIFFERENCES)
    [row] = Person("a").removed_from("differences", table).to_pylist()
    assert row == {**table.to_pylist()[0], "representatives": ["c"]}


def test_what_an_endpoint_said_of_a_prompt_with_their_reviews_goes():
    call = {"user_id": "b", "item_id": "i", "status": "error", "error": "the endpoint refused: bad text 'theirs'"}
    rows = pa.Table.from_pylist([call, {**call, "item_id": "j"}], schema.DIFFERENCES)
    person = Person("a", shown_to=frozenset({("b", "i")}))
    left = person.removed_from("differences", rows)["error"].to_pylist()
    assert left == ["the endpoint refused", call["error"]]


def test_where_no_results_are_it_says_so(tmp_path):
    with pytest.raises(BadInput, match="no results of jobs are here"):
        forget(LocalFolder(tmp_path), ["somebody"], None, nothing, nothing)


def test_a_review_that_somebody_else_wrote_too_keeps_its_vector():
    review = {"rating": 5.0, "title": None, "timestamp": 1, "embedded_in": 0}
    reviews = [
        {**review, "user_id": user, "text": text, "text_id": text_id(text)}
        for user, text in (("a", "Great!"), ("b", "Great!"), ("a", "Mine alone"))
    ]
    item = {"item_id": "i", "title": None, "description": None, "reviews": reviews, "requested_by": []}
    items = pa.Table.from_pylist([item], schema.ITEMS)
    person = Person("a").learned("items", items).learned("items", items)
    vectors = pa.Table.from_pylist(
        [{"text_id": text_id(text), "vector": [0.0]} for text in ("Great!", "Mine alone", "Another's")],
        schema.EMBEDDINGS,
    )
    left = person.removed_from("embeddings", vectors)["text_id"].to_pylist()
    assert left == [text_id("Great!"), text_id("Another's")]
