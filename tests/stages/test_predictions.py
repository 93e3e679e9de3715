"""From what comparisons found to who writes for a user: nothing found is a fallback, and its reason is counted."""

import asyncio
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.llm.row_caller import RoleSpec
from drp_ray.methods.base import METHODS
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages.contexts import context_of
from drp_ray.stages.predictions import Predict

REVIEW = {"item_id": "i", "rating": 4.0, "title": "A title", "text": "A text.", "timestamp": 1}
ITEM = {"item_id": "i", "title": "An item", "description": None, "reviewers": 9}
ITEMS = Catalogue(
    pa.Table.from_pylist([ITEM], schema.CATALOGUE.append(pa.field("reviewers", pa.int64()))).combine_chunks()
)
OUTCOMES = ("found", "unparsed", "none", "failed", "not compared")


def context(outcomes, user_id="u", profile=(REVIEW,)):
    """The context of a user whose comparisons ended so."""
    found = [
        {"rank": rank, "item_id": f"i{rank}", "item_title": "An item", "outcome": outcome}
        | {"text": f"text {rank}" if outcome in ("found", "unparsed") else None}
        for rank, outcome in enumerate(outcomes)
    ]
    user = {"user_id": user_id, "profile": list(profile), "target": REVIEW}
    return {**context_of(user, list(range(len(profile))), found, ITEMS), "profile": None, "peers": None}


def predicted(contexts, method="drp"):
    """The rows and the facts of the stage, with an engine that answers everything."""
    script = Path(predicted.folder) / "script"
    script.write_text(json.dumps({}))
    spec = ModelSpec(engine="tests.fakes:ScriptedEngine", id=str(script))
    role = RoleSpec("llm", Sampling(temperature=0, top_p=1, max_tokens=8))
    roles = dict.fromkeys(("summarizer", "generator"), role)
    worker = Predict({"llm": spec}, roles, 0, 1, method=METHODS[method], prompts=PromptPack.load())

    async def run():
        await worker.start(lambda **counts: None)
        return await worker.work("part-00000.parquet", pa.Table.from_pylist(contexts, schema.CONTEXTS), None)

    made = asyncio.run(run())
    return made.to_pylist(), worker.facts(made)


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    predicted.folder = tmp_path_factory.mktemp("predictions")


@given(st.lists(st.sampled_from(OUTCOMES), max_size=8))
def test_a_user_is_written_for_from_what_was_found_and_every_comparison_is_accounted_for(outcomes):
    row = context(outcomes)
    assert [each["text"] for each in row["differences"]] == [
        f"text {rank}" for rank, outcome in enumerate(outcomes) if outcome in ("found", "unparsed")
    ]
    assert row["n_comparisons"] == sum(outcome != "not compared" for outcome in outcomes)
    assert row["n_comparisons"] == (len(row["differences"]) + row["n_no_difference"] + row["n_failed_differences"]), (
        "each compared item found something, found nothing, or failed"
    )
    assert row["n_failed_differences"] == outcomes.count("failed")


@pytest.mark.parametrize(
    ("outcomes", "method", "fallback"),
    [
        (["found", "none", "failed"], "drp", None),
        (["unparsed"], "drp", None),
        (["none", "none"], "intsum", "no differences"),
        (["none", "failed"], "intsum", "differences failed"),
        (["failed"], "intsum", "differences failed"),
        (["not compared"], "intsum", "no comparisons"),
        ([], "intsum", "no comparisons"),
    ],
)
def test_a_user_with_no_difference_at_all_falls_back_and_the_row_says_why(outcomes, method, fallback):
    [row], _ = predicted([context(outcomes)])
    assert (row["method"], row["fallback"]) == (method, fallback)
    found = sum(outcome in ("found", "unparsed") for outcome in outcomes)
    assert (row["n_differences"], row["n_failed_differences"]) == (found, outcomes.count("failed"))


def test_other_reasons_to_fall_back_are_told_apart():
    [alone], _ = predicted([context([], profile=())])
    assert (alone["method"], alone["fallback"]) == ("nonperso", "no past reviews")
    [without_peers], _ = predicted([{**context([]), "peers": []}], "cicl")
    assert (without_peers["method"], without_peers["fallback"]) == ("intsum", "no reviews by others")


def test_users_are_counted_by_the_method_that_ran_and_by_why_it_did():
    kinds = (["found", "failed"], ["none"], ["none"], ["failed"])
    _, facts = predicted([context(outcomes, f"u{number}") for number, outcomes in enumerate(kinds)])
    assert {name: facts[name] for name in facts if ":" in name} == {
        "method:drp": 1, "method:intsum": 3, "fallback:no differences": 2, "fallback:differences failed": 1,
    }  # fmt: skip
    assert (facts["users_with_failed_differences"], facts["differences"]) == (2, 1)
