"""What the summarizer reads of a comparison: features rendered from their fields, or nothing where none was found."""

from dataclasses import replace

import pyarrow as pa
import pytest

from drp_ray import schema
from drp_ray.methods.base import DIFFERENCES
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages.differences import FindDifferences, _content, found_differences

NONE = "No difference distinguishes this user."
REMARKS = (
    "I rejected two of them.\n---\n[Pace]\nDefinition: how fast\nDifference Description: faster\n---\nThe rest hold."
)
RAW = "[Tone]\nDefinition: how warm\nDifference Description: warmer"
PACE = [{"name": "Pace", "definition": "how fast", "description": "faster"}]


def row(extracted, validated=None, features=(), status="ok", representatives=("o",)):
    text = {"extracted": extracted, "validated": validated, "features": list(features)}
    calls = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens", "thinking_tokens"), 0)
    calls |= dict.fromkeys(("unfinished_thinking", "cut_off", "preambles"), 0) | {"truncated": False}
    return {"user_id": "u", "status": status, "representatives": list(representatives), **text, **calls}


CASES = {
    "features": (row(RAW, REMARKS, PACE), "found", "- Pace (how fast): faster"),
    "none of drp": (row(RAW, NONE), "none", None),
    "none of dpl": (row("There are no differences."), "none", None),
    "unparsed": (row(RAW, "The user is just nicer."), "unparsed", "The user is just nicer."),
    "failed": (row(None, status="error"), "failed", None),
    "not compared": (row(None, representatives=()), "not compared", None),
}


def table_of(rows):
    return pa.Table.from_pylist(rows, schema.DIFFERENCES)


@pytest.mark.parametrize("case", CASES)
def test_a_comparison_gives_its_parsed_features_or_its_text_or_nothing(case):
    made, outcome, text = CASES[case]
    assert found_differences(table_of([made]), "validated") == [(outcome, text)]


def test_raw_differences_are_those_before_validation_and_dpls_own():
    dpl = [{"name": "Writing style", "definition": "", "description": "short."}]
    rows = [row(RAW, NONE), row(NONE, REMARKS, PACE), row("Writing style: short.", None, dpl)]
    assert found_differences(table_of(rows), "raw") == [
        ("found", "- Tone (how warm): warmer"),
        ("none", None),
        ("found", "- Writing style: short."),
    ]


def test_comparisons_without_a_difference_and_unread_replies_are_counted_apart():
    worker = FindDifferences(
        {}, {}, 0, 1, programme=DIFFERENCES["drp"], prompts=PromptPack.load(), dimensions=("writing",)
    )
    facts = worker.facts(table_of([made for made, _, _ in CASES.values()]))
    counted = ("no_difference", "unparsed", "errors", "no_representatives", "representatives")
    assert {name: facts[name] for name in counted} == {
        "no_difference": 2, "unparsed": 1, "errors": 1, "no_representatives": 1, "representatives": 5,
    }  # fmt: skip


def test_what_an_answer_depends_on_is_all_but_the_place_of_a_comparison():
    row = {"user_id": "u", "item_id": "i", "rank": 0, "cluster": 1, "target_timestamp": 5, "title": "T"}
    row |= {"description": None, "review": {"text": "mine"}, "representatives": [{"text": "one", "cluster": 2}]}
    own = replace(DIFFERENCES["drp"], origin={"import_path": "a.module:drp"})
    moved = {**row, "rank": 3, "cluster": 2, "target_timestamp": 9}
    assert _content(row, DIFFERENCES["drp"]) == _content(moved, DIFFERENCES["drp"])
    assert _content(row, own) != _content(moved, own)
    for other in ({"review": {"text": "other"}}, {"representatives": []}, {"title": "S"}, {"description": "D"}):
        assert _content({**row, **other}, DIFFERENCES["drp"]) != _content(row, DIFFERENCES["drp"])
