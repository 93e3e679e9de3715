"""The catalogue knows every item that occurs, and how many users have it in their profile."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.inputs.catalogue import Catalogue, Item, build_catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.storage.folder import S3Options, open_folder

NAMES = ["", " ", "A", "B", "a", "aa", "b", "é", "ﬀ", "😀", "\U0010ffff", "z"]
PROFILES = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), max_size=6), st.sampled_from(NAMES)), min_size=1, max_size=8
)


def review(item):
    return {"item_id": item, "rating": 1.0, "title": None, "text": "t", "timestamp": 0}


def dataset_of(path, profiles, group_size=100):
    rows = [
        {"user_id": f"u{number}", "profile": [review(item) for item in items], "target": review(target)}
        for number, (items, target) in enumerate(profiles)
    ]
    half = len(rows) // 2
    catalogue = [
        {"item_id": name, "title": f"title of {name}", "description": name or None} for name in reversed(NAMES)
    ]
    (path / "users").mkdir(parents=True)
    (path / "items").mkdir()
    for number, some in enumerate((rows[:half], rows[half:])):
        pq.write_table(
            pa.Table.from_pylist(some, schema.USERS), path / "users" / f"{number}.parquet", row_group_size=group_size
        )
    for number, some in enumerate((catalogue[:3], catalogue[3:])):
        pq.write_table(pa.Table.from_pylist(some, schema.CATALOGUE), path / "items" / f"{number}.parquet")
    folder = open_folder(str(path), S3Options())
    return Dataset.open(folder, folder)


@settings(max_examples=40)
@given(profiles=PROFILES, group_size=st.integers(1, 4))
def test_every_item_has_its_number_of_reviewers(tmp_path_factory, profiles, group_size):
    dataset = dataset_of(tmp_path_factory.mktemp("catalogue") / "data", profiles, group_size)
    counted = Counter(item for items, _ in profiles for item in set(items))
    wanted = sorted({*counted, *(target for _, target in profiles)})

    table = build_catalogue(dataset)

    assert table["item_id"].to_pylist() == wanted
    items = Catalogue(table)
    for name in wanted:
        assert items[name] == Item(name, f"title of {name}", name or None, counted[name])
    assert items.of([*wanted, *wanted[::-1]]) == {name: items[name] for name in wanted}
    for name in {*NAMES, "0", "zz", "\U0010ffff\U0010ffff"} - set(wanted):
        with pytest.raises(KeyError):
            items[name]
        with pytest.raises(KeyError):
            items.of([*wanted, name])


def test_a_user_who_reviewed_an_item_twice_is_one_reviewer(tmp_path):
    table = build_catalogue(dataset_of(tmp_path / "data", [(["a", "a"], "b"), (["a"], "b")]))
    assert Catalogue(table)["a"].reviewers == 2


def test_who_is_asked_about_an_item_is_no_reviewer_of_it(tmp_path):
    table = build_catalogue(dataset_of(tmp_path / "data", [(["a"], "b"), (["a"], "a")]))
    assert [Catalogue(table)[name].reviewers for name in "ab"] == [2, 0]
