"""One user's story: chosen the same way for any order of rows, and made of that user's rows alone."""

import random

import pyarrow as pa
import pytest

from drp_ray import schema
from drp_ray.job.story import choose_story, story_lines

CALL = {"status": "ok", "error": None, "attempts": 1, "prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 1}


def blocks(*names: str) -> str:
    return "".join(f"---\n[{name}]\nDefinition: what it is\nDifference Description: {name} of it\n" for name in names)


def features(*names: str) -> list[dict]:
    return [{"name": name, "definition": "what it is", "description": f"{name} of it"} for name in names]


def tables(found: dict[str, tuple[list[str], list[str]]], failed: tuple[str, ...] = ()) -> list[pa.Table]:
    """Comparisons, differences and predictions of users whose only comparison found and kept these differences."""
    review = {"item_id": "i", "rating": 4.0, "title": "t", "text": "own", "timestamp": 1}
    other = {"user_id": "peer", "cluster": 1, "rating": 4.0, "title": "t", "text": "others", "timestamp": 1}
    comparisons = [
        {
            "user_id": user,
            "item_id": "i",
            "rank": 0,
            "review": review | {"text": f"own words of {user}"},
            "title": "An item",
            "representatives": [other],
        }
        for user in found
    ]
    differences = [
        {"user_id": user, "item_id": "i", "rank": 0, "representatives": ["peer"], **CALL}
        | {"extracted": blocks(*raw), "validated": blocks(*kept), "features": features(*kept)}
        for user, (raw, kept) in found.items()
    ]
    predictions = [
        {"user_id": user, "item_id": "target", "method": "drp", **CALL, "status": "error" if user in failed else "ok"}
        | {"summary": f"summary of {user}", "prediction": f"written for {user}", "reference": f"real of {user}"}
        for user in found
    ]
    return [
        pa.Table.from_pylist(rows, schema=wanted)
        for rows, wanted in (
            (comparisons, schema.COMPARISONS),
            (differences, schema.DIFFERENCES),
            (predictions, schema.PREDICTIONS),
        )
    ]


FOUND = {
    "user-1": (["Tone"], ["Tone"]),
    "user-2": (["Tone", "Length"], ["Tone"]),
    "user-3": (["Tone", "Length"], ["Length"]),
}


def test_the_first_user_whose_validation_dropped_something_is_told_of():
    story = choose_story(*tables(FOUND))
    assert story.prediction["user_id"] == "user-2"
    assert [each["name"] for each in story.dropped] == ["Length"]


def test_the_order_of_rows_changes_nothing():
    expected = story_lines(choose_story(*tables(FOUND)))
    shuffled = [table.take(random.Random(5).sample(range(len(table)), len(table))) for table in tables(FOUND)]
    assert story_lines(choose_story(*shuffled)) == expected


def test_a_user_whose_prediction_failed_has_no_story():
    assert choose_story(*tables(FOUND, failed=("user-2",))).prediction["user_id"] == "user-3"


def test_without_a_dropped_difference_the_first_user_with_any_is_told_of():
    found = {"user-1": ([], []), "user-2": (["Tone"], ["Tone"])}
    assert choose_story(*tables(found)).prediction["user_id"] == "user-2"


def test_a_difference_that_was_left_out_tells_more_than_one_that_was_put_otherwise():
    comparisons, differences, predictions = tables(FOUND)
    rows = differences.to_pylist()
    rows[0]["features"][0]["description"] = "the tone, put otherwise"
    otherwise = pa.Table.from_pylist(rows, schema=schema.DIFFERENCES)
    assert choose_story(comparisons, otherwise, predictions).prediction["user_id"] == "user-2"
    alone = [table.slice(0, 1) for table in (comparisons, otherwise, predictions)]
    assert [each["name"] for each in choose_story(*alone).changed] == ["Tone"] and not choose_story(*alone).dropped


@pytest.mark.parametrize("found", [{}, {"user-1": (["Tone"], [])}])
def test_where_no_comparison_found_a_difference_there_is_no_story(found):
    assert choose_story(*tables(found)) is None


def test_the_lines_hold_the_users_texts_and_the_other_methods():
    comparisons, differences, predictions = tables(FOUND)
    lines = story_lines(choose_story(comparisons, differences, predictions, predictions))
    text = "\n".join(lines)
    for part in ("own words of user-2", "others", "Length of it", "summary of user-2", "written for user-2"):
        assert part in text
    assert "real of user-2" in lines[-1]
    assert "user-3" not in text
