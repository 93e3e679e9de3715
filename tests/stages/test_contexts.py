"""What the summarizer reads of the differences, and in which part each arrives."""

import pyarrow as pa
import pytest

from drp_ray import schema
from drp_ray.stages.contexts import differences_of_parts, in_time_order
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
