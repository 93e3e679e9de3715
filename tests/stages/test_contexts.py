"""What the summarizer reads of the differences, and in which part each arrives."""

import pyarrow as pa
import pytest

from drp_ray import schema
from drp_ray.stages.contexts import differences_of_parts, in_time_order, users_of_parts
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import commit_part


def difference(user_id, extracted, validated, status="ok"):
    row = {"user_id": user_id, "item_id": "i", "rank": 0, "title": "An item", "features": [], "status": status}
    return {**row, "extracted": extracted, "validated": validated}


ROWS = [
    difference("a", "raw a", "valid a"),
    difference("b", "raw b", None),
    difference("a", None, None),
    difference("b", None, None, status="error"),
]


def test_a_profile_is_put_into_time_order():
    reviews = [{"timestamp": 3, "text": "c"}, {"timestamp": 1, "text": "a"}, {"timestamp": 3, "text": "b"}]
    assert [review["text"] for review in in_time_order(reviews)] == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("source", "texts"),
    [("validated", [(3, "a", "valid a"), (7, "b", "raw b")]), ("raw", [(3, "a", "raw a"), (7, "b", "raw b")])],
)
def test_the_configured_source_is_read_and_what_has_no_text_is_left_out(ray_here, tmp_path, source, texts):
    folder = LocalFolder(tmp_path)
    commit_part(folder, "part-00000.parquet", pa.Table.from_pylist(ROWS, schema.DIFFERENCES), {}, "")
    parts = ray_here.put(pa.table({"user_id": ["b", "a"], "part": pa.array([7, 3], pa.int32())}))
    found = differences_of_parts(pa.table({"part": ["part-00000.parquet"]}), folder, source, parts)
    rows = found.to_pylist()
    assert [(row["part"], row["user_id"], row["text"]) for row in rows if row["text"] is not None] == texts
    assert [row["outcome"] for row in rows] == ["unparsed", "unparsed", "not compared", "failed"]


def test_what_is_found_in_parts_read_together_is_what_is_found_in_each(ray_here, tmp_path):
    folder, names = LocalFolder(tmp_path), [f"part-{number:05d}.parquet" for number in range(4)]
    for number, name in enumerate(names):
        commit_part(folder, name, pa.Table.from_pylist(ROWS[:number], schema.DIFFERENCES), {}, "")
    parts = ray_here.put(pa.table({"user_id": ["b", "a"], "part": pa.array([7, 3], pa.int32())}))
    together, *each = (
        differences_of_parts(pa.table({"part": chosen}), folder, "validated", parts).to_pylist()
        for chosen in (names, *([name] for name in names))
    )
    assert together == [row for rows in each for row in rows] and len(together) == 6


def test_every_user_is_in_the_part_that_was_read(tmp_path):
    folder, rows = LocalFolder(tmp_path), [{"user_id": name, "history": [], "eligible": []} for name in "abc"]
    for name, users in (("part-00000.parquet", rows[:2]), ("part-00005.parquet", []), ("part-00009.parquet", rows[2:])):
        commit_part(folder, name, pa.Table.from_pylist(users, schema.RETRIEVED), {}, "")
    batch = {"part": ["part-00009.parquet", "part-00000.parquet", "part-00005.parquet"], "number": [2, 0, 1]}
    found = users_of_parts(pa.table(batch), folder)
    assert list(zip(*found.to_pydict().values(), strict=True)) == [("c", 2), ("a", 0), ("b", 0)]
