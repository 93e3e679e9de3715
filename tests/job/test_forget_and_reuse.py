"""After a person was forgotten no answer to their reviews is taken over, and what a run has spent stays spent."""

import json
from functools import partial
from types import SimpleNamespace

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.job.budget import spent_on
from drp_ray.job.forget import forget
from drp_ray.llm.memory import ALTERED, Memory, earlier_folders
from drp_ray.llm.model_worker import COUNTED, ModelWorker
from drp_ray.llm.row_caller import RoleSpec
from drp_ray.methods.base import DIFFERENCES, METHODS
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages.asking import REUSED_FROM
from drp_ray.stages.differences import FindDifferences
from drp_ray.stages.predictions import Predict
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import Manifest, add_up, commit_part, part_name, read_manifest, read_rows, write_manifest
from tests.stages.working import work_in_pieces

FROM = {"version": 1, "settings": {}}
PROMPTS = PromptPack.load()
ROLES = ("extractor", "validator", "summarizer", "generator")
WORKERS = {
    "differences": partial(FindDifferences, programme=DIFFERENCES["drp"], dimensions=("writing",)),
    "predictions": partial(Predict, method=METHODS["cicl"]),
}
REVIEWERS = [f"u{number}" for number in range(4)]
REVIEWS = st.dictionaries(st.sampled_from(REVIEWERS), st.sets(st.sampled_from("ij"), min_size=1), min_size=2)
SOME = st.lists(st.sampled_from(REVIEWERS), min_size=1, max_size=2, unique=True)


def review_of(user, item):
    return {"item_id": item, "rating": 4.0, "title": "A title", "text": f"What {user} says of {item}", "timestamp": 1}


def of_others(reviews, user, items):
    return [
        {**review_of(other, item), "user_id": other}
        for item in sorted(items)
        for other in sorted(reviews)
        if other != user and item in reviews[other]
    ]


def comparisons(reviews, users):
    """Every user with all others who reviewed an item of theirs."""
    rows = [
        {"user_id": user, "item_id": item, "rank": 0, "review": review_of(user, item), "title": item, "cluster": 0}
        | {"representatives": of_others(reviews, user, [item]), "target_timestamp": 9}
        for user in users
        for item in sorted(reviews[user])
    ]
    return pa.Table.from_pylist(rows, schema.COMPARISONS)


def contexts(reviews, users):
    """Every user with all reviews by others of their items."""
    rows = [
        {"user_id": user, "target": review_of(user, "target"), "reference": "", "differences": []}
        | {"history": [review_of(user, item) for item in sorted(reviews[user])]}
        | {"peers": of_others(reviews, user, reviews[user])}
        | dict.fromkeys(("n_comparisons", "n_no_difference", "n_failed_differences"), 0)
        for user in users
    ]
    return pa.Table.from_pylist(rows, schema.CONTEXTS)


SOURCES = {"comparisons": comparisons, "contexts": contexts}


def answered(root, stage, name, reviews, users=None):
    """A finished folder of a stage, in parts of three rows, for which rows are taken over from those beside it."""
    source, dataset = REUSED_FROM[stage], LocalFolder(root).at("data")
    folder, inputs = dataset.at(stage, name), dataset.at(source, name)
    earlier = earlier_folders(dataset.at(stage), name, dataset.at(source), source, FROM)
    rows = SOURCES[source](reviews, sorted(reviews) if users is None else users)
    LocalFolder(root).write("script", b"{}")
    model = ModelSpec(engine="tests.fakes:ScriptedEngine", id=f"{root}/script")
    roles = dict.fromkeys(ROLES, RoleSpec("llm", Sampling()))
    entries = {folder: [], inputs: []}
    for number, start in enumerate(range(0, rows.num_rows, 3)):
        asked = commit_part(inputs, part_name(number), rows.slice(start, 3), {}, "")
        worker = WORKERS[stage]({"llm": model}, roles, 7, 1, prompts=PROMPTS, memory=Memory(earlier))
        made, facts = work_in_pieces(worker, part_name(number), rows.slice(start, 3), 1)
        entries[inputs].append(asked.entry)
        entries[folder].append(commit_part(folder, part_name(number), made, facts, asked.digest).entry)
    for place, parts in entries.items():
        totals = {"rows": 0, **add_up(part.facts for part in parts)}
        full = {**FROM, "inputs": {source: name}}
        write_manifest(
            place,
            Manifest(stage=stage, fingerprint=name, made_from=full, inputs={}, parts=parts, totals=totals),
        )
    return folder


def without(reviews, forgotten):
    return {user: items for user, items in reviews.items() if user not in forgotten}


def forget_each(root, users):
    for user in users:
        forget(LocalFolder(root), [user], None, lambda line: None, lambda run: None)


@settings(max_examples=8)
@given(st.sampled_from(sorted(REUSED_FROM)), REVIEWS, SOME)
def test_what_is_taken_over_after_people_were_forgotten_is_what_would_be_asked(tmp_path_factory, stage, reviews, gone):
    root = tmp_path_factory.mktemp("forgotten")
    asked = SOURCES[REUSED_FROM[stage]]
    answered(root, stage, "old", reviews)
    forget_each(root, gone)
    left = without(reviews, gone)
    if not left:
        return
    again, fresh = answered(root, stage, "new", left), answered(root / "elsewhere", stage, "new", left)
    assert read_rows(again).equals(read_rows(fresh))
    earlier = asked(reviews, sorted(reviews)).to_pylist()
    unchanged = sum(row in earlier for row in asked(left, sorted(left)).to_pylist())
    assert read_manifest(again).totals.get("reused", 0) == unchanged
    for noted in root.rglob(ALTERED):
        assert {key[0] for key in json.loads(noted.read_text())} <= left.keys()


@settings(max_examples=8)
@given(st.sampled_from(sorted(REUSED_FROM)), REVIEWS, SOME, st.integers(1, 3))
def test_to_forget_somebody_refunds_nothing(tmp_path_factory, stage, reviews, gone, first):
    root = tmp_path_factory.mktemp("waves")
    waves = [answered(root, stage, f"wave{n}", reviews, sorted(reviews)[:n]) for n in (first, first + 1, len(reviews))]
    plans = [
        SimpleNamespace(stages={stage: SimpleNamespace(folder=folder)}, resources=dict)
        for folder in dict.fromkeys(waves)
    ]
    before = spent_on(plans)
    for user in gone:
        forget_each(root, [user])
        assert spent_on(plans) == before
        for folder in waves:
            manifest = read_manifest(folder)
            for facts in (manifest.totals, *(part.facts for part in manifest.parts)):
                assert all(facts.get(f"reused_{name}", 0) <= facts.get(name, 0) for name in COUNTED)
                assert facts.get("reused", 0) <= facts["rows"]
                assert all(value >= 0 for value in facts.values())


def test_what_was_paid_for_those_who_are_gone_stays_where_error_rows_are_tried_again():
    assert {f"forgotten_{name}" for name in COUNTED} <= set(ModelWorker.carried)
