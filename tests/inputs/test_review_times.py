"""How many had reviewed an item by a time: each user once, by their newest review."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.review_times import ReviewTimes, build_review_times
from drp_ray.storage.folder import LocalFolder

PROFILES = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=5), min_size=1, max_size=6)


def review(item, timestamp):
    return {"item_id": item, "rating": 1.0, "title": None, "text": "t", "timestamp": timestamp}


def dataset_of(path, profiles, group_size):
    users = [
        {"user_id": f"u{number}", "profile": [review(*pair) for pair in profile], "target": review("z", 0)}
        for number, profile in enumerate(profiles)
    ]
    for folder, rows, columns in (("users", users, schema.USERS), ("items", [], schema.CATALOGUE)):
        (path / folder).mkdir()
        pq.write_table(pa.Table.from_pylist(rows, columns), path / folder / "0.parquet", row_group_size=group_size)
    return Dataset.open(LocalFolder(path), LocalFolder(path))


@given(profiles=PROFILES, group_size=st.integers(1, 3))
def test_reviewers_until_a_time_are_those_counted_by_hand(tmp_path_factory, profiles, group_size):
    dataset = dataset_of(tmp_path_factory.mktemp("times"), profiles, group_size)
    times = ReviewTimes(build_review_times(dataset))
    for item in {item for profile in profiles for item, _ in profile}:
        newest = [max(at for name, at in profile if name == item) for profile in profiles if item in dict(profile)]
        for moment in range(-1, 11):
            assert times.reviewers_until(item, moment) == sum(at <= moment for at in newest)
    with pytest.raises(KeyError):
        times.reviewers_until("nobody's", 5)
