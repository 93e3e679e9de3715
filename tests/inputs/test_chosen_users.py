"""Who is predicted for depends on the users, not on how they lie in files."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.config import Users
from drp_ray.inputs.chosen_users import chosen_rows
from tests.inputs.files import Files, table, user


def chosen(dataset, users):
    """The ids of the chosen users in the order in which they are predicted for."""
    return [dataset.read_user_ids(group)[row] for group, rows in chosen_rows(dataset, users) for row in rows]


LAYOUTS = st.tuples(st.lists(st.integers(0, 20), max_size=3), st.integers(1, 20))
IDS = [f"user-{number * 7919 % 1000}" for number in range(20)]


def lay_out(path, layout):
    cuts, group_size = layout
    bounds = [0, *sorted(cuts), 20]
    for old in path.glob("users/*"):
        old.unlink()
    files = Files(path)
    rows = table([user(user_id=name) for name in IDS])
    for number, (start, end) in enumerate(pairwise(bounds)):
        files.users(rows.slice(start, end - start), f"part-{number}.parquet", row_group_size=group_size)
    return files.open()


CHOICES = [Users(), Users(limit=7), Users(limit=100), Users(sample=6), Users(sample=6, seed=1), Users(sample=100)]


@pytest.mark.parametrize("users", CHOICES, ids=str)
@settings(max_examples=20)
@given(layout=LAYOUTS)
def test_who_is_chosen_does_not_depend_on_the_layout_of_the_files(tmp_path_factory, users, layout):
    path = tmp_path_factory.mktemp("layout") / "data"
    assert chosen(lay_out(path, layout), users) == chosen(lay_out(path, ([], 100)), users)


def test_the_first_are_chosen_or_all_where_there_are_fewer(tmp_path):
    dataset = lay_out(tmp_path / "data", ([5, 11], 3))
    assert chosen(dataset, Users(limit=7)) == IDS[:7]
    assert chosen(dataset, Users(limit=100)) == chosen(dataset, Users()) == IDS


def test_a_sample_is_seeded_in_order_and_no_head_of_the_dataset(tmp_path):
    dataset = lay_out(tmp_path / "data", ([5, 11], 3))
    samples = {seed: chosen(dataset, Users(sample=6, seed=seed)) for seed in range(40)}
    for sample in samples.values():
        assert len(set(sample)) == 6
        assert sample == sorted(sample, key=IDS.index)
    assert len({tuple(sample) for sample in samples.values()}) > 30
    drawn = [name for sample in samples.values() for name in sample]
    assert set(drawn) == set(IDS)
    assert chosen(dataset, Users(sample=100)) == IDS


def test_a_larger_sample_holds_the_smaller_one(tmp_path):
    dataset = lay_out(tmp_path / "data", ([], 100))
    assert set(chosen(dataset, Users(sample=3))) < set(chosen(dataset, Users(sample=9)))
