"""The stage `items`: every requested item once, with all its reviewers' newest reviews, in parts of even work."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.stages.embedder import text_id
from drp_ray.stages.items import REQUESTS, assign_parts, find_owners, item_row

ITEMS = Catalogue(
    pa.table(
        {
            "item_id": ["a", "b"],
            "title": ["A", "B"],
            "description": pa.array([None, "d"], pa.string()),
            "reviewers": [3, 2],
        }
    ).combine_chunks()
)
REQUEST_LISTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=30, unique=True)


def local(function):
    """The function behind a Ray task."""
    return function._function


def requests_of(pairs):
    rows = [{"item_id": item, "user_id": f"u{user}", "rank": 0, "target_timestamp": 9} for item, user in pairs]
    return pa.Table.from_pylist(rows, REQUESTS)


@given(pairs=REQUEST_LISTS, rows_per_part=st.integers(1, 8))
def test_items_go_into_parts_in_order_and_none_is_split(pairs, rows_per_part):
    made = local(assign_parts)(rows_per_part, requests_of(pairs)).to_pylist()
    assert [(row["item_id"], row["user_id"]) for row in made] == sorted((item, f"u{user}") for item, user in pairs)
    parts = [row["part"] for row in made]
    assert parts == sorted(parts) and sorted(set(parts)) == list(range(len(set(parts))))
    assert all(len({row["part"] for row in made if row["item_id"] == item}) == 1 for item, _ in pairs)
    largest = max(Counter(item for item, _ in pairs).values(), default=0)
    assert all(count < rows_per_part + largest for count in Counter(parts).values())


@given(pairs=REQUEST_LISTS, seed=st.randoms(), rows_per_part=st.integers(1, 8))
def test_the_order_in_which_requests_arrive_changes_nothing(pairs, seed, rows_per_part):
    shuffled = list(pairs)
    seed.shuffle(shuffled)
    assign = local(assign_parts)
    halves = requests_of(shuffled[: len(pairs) // 2]), requests_of(shuffled[len(pairs) // 2 :])
    assert assign(rows_per_part, *halves).equals(assign(rows_per_part, requests_of(pairs)))


def review(user, text, timestamp=0):
    more = {"rating": 3.0, "title": None, "item_id": "a", "part": 4}
    return {"user_id": user, "text": text, "timestamp": timestamp, "text_id": text_id(text), **more}


@pytest.mark.parametrize("order", [1, -1])
def test_every_reviewer_stands_once_with_the_newest_review(order):
    reviews = [review("v", "old", 1), review("u", "text", 5), review("v", "new", 2), review("w", "text", 3)][::order]
    requests = [{"user_id": "w", "rank": 1, "target_timestamp": 9}, {"user_id": "u", "rank": 0, "target_timestamp": 8}]
    row = item_row(ITEMS, "a", reviews, requests[::order], part=4, shared={text_id("text"): 2})
    assert [(one["user_id"], one["text"], one["embedded_in"]) for one in row["reviews"]] == [
        ("u", "text", 2), ("v", "new", 4), ("w", "text", 2),
    ]  # fmt: skip
    assert [one["user_id"] for one in row["requested_by"]] == ["u", "w"]
    assert (row["title"], row["description"]) == ("A", None)
    assert pa.Table.from_pylist([row], schema.ITEMS).num_rows == 1


@given(places=st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 4)), min_size=1, max_size=20))
def test_a_text_of_several_parts_is_embedded_in_the_first_of_them(places):
    table = pa.table({"text_id": [text for text, _ in places], "part": [part for _, part in places]})
    owners = {row["text_id"]: row["part_min"] for row in local(find_owners)(table).to_pylist()}
    parts_of = {text: {part for name, part in places if name == text} for text, _ in places}
    assert owners == {text: min(parts) for text, parts in parts_of.items() if len(parts) > 1}
