"""The stage `comparisons`: one row a request, and with `as_of: target` nothing later than the target is seen."""

import asyncio

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import Selection
from drp_ray.stages.comparisons import Compare, compare_item
from drp_ray.stages.embedder import text_id
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import commit_part

TEXTS = [f"text {n}" for n in range(6)]
VECTORS = {text_id(text): np.random.default_rng(n).normal(size=4).astype(np.float32) for n, text in enumerate(TEXTS)}
REVIEWERS = st.lists(st.tuples(st.sampled_from(TEXTS), st.integers(0, 9)), min_size=1, max_size=9)


def item_of(reviewers, targets):
    reviews = [
        {"user_id": f"u{n}", "rating": 4.0, "title": None, "text": text, "timestamp": at}
        | {"text_id": text_id(text), "embedded_in": 0}
        for n, (text, at) in enumerate(reviewers)
    ]
    requests = [{"user_id": f"u{n}", "rank": n, "target_timestamp": at} for n, at in enumerate(targets[: len(reviews)])]
    return {"item_id": "i", "title": "I", "description": None, "reviews": reviews, "requested_by": requests}


@given(
    reviewers=REVIEWERS,
    targets=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    strategy=st.sampled_from(["kmeans", "random", "simrank"]),
    as_of=st.sampled_from(["none", "target"]),
)
def test_every_request_has_its_row_and_no_row_sees_beyond_its_cut_off(reviewers, targets, strategy, as_of):
    item = item_of(reviewers, targets)
    rows = compare_item(item, VECTORS, Selection(k=2, n_init=2, strategy=strategy, as_of=as_of))
    assert [(row["user_id"], row["rank"]) for row in rows] == [
        (request["user_id"], request["rank"]) for request in item["requested_by"]
    ]
    for row, target in zip(rows, targets, strict=False):
        own = row["review"]
        shown = row["representatives"]
        assert own["text"] not in {one["text"] for one in shown}
        assert row["user_id"] not in {one["user_id"] for one in shown}
        if as_of == "target":
            cut_off = max(target, own["timestamp"])
            assert all(one["timestamp"] <= cut_off for one in shown)
            until = [review for review in item["reviews"] if review["timestamp"] <= cut_off]
            [request] = [request for request in item["requested_by"] if request["user_id"] == row["user_id"]]
            past = {**item, "reviews": until, "requested_by": [request]}
            [same] = compare_item(past, VECTORS, Selection(k=2, n_init=2, strategy=strategy))
            assert [one["user_id"] for one in same["representatives"]] == [one["user_id"] for one in shown]


@pytest.mark.parametrize(("as_of", "later"), [("none", 1), ("target", 0)])
def test_representatives_from_after_the_target_are_counted(tmp_path, as_of, later):
    folder = LocalFolder(tmp_path)
    lists = pa.array([vector.tolist() for vector in VECTORS.values()], pa.list_(pa.float32()))
    commit_part(folder, "part-00000.parquet", pa.table([list(VECTORS), lists], schema=schema.EMBEDDINGS), {}, "")
    item = item_of([(TEXTS[0], 1), (TEXTS[1], 2), (TEXTS[2], 9)], [5])
    worker = Compare(folder, Selection(k=2, n_init=2, as_of=as_of))
    items = pa.Table.from_pylist([item], schema.ITEMS)
    made = asyncio.run(worker.work("part-00000.parquet", items, None))
    assert made.schema == schema.COMPARISONS
    assert list(worker.asked("part-00000.parquet", items)) == [("u0", "i")]
    assert worker.facts(made) == {"later_representatives": later}
    assert worker.facts(made.slice(0, 0)) == {"later_representatives": 0}
