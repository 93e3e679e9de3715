"""A dataset that a stage could fail on is refused, with file and row."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drp_ray import schema
from drp_ray.inputs.dataset_check import check_dataset
from tests.inputs.files import CATALOGUE, review, table, user, with_type


def keep(value, wanted):
    """A value without the fields that a type lacks."""
    if pa.types.is_list(wanted):
        return [keep(child, wanted.value_type) for child in value]
    if pa.types.is_struct(wanted) and isinstance(value, dict):
        return {field.name: keep(value[field.name], field.type) for field in wanted}
    return value


def without(column):
    columns = with_type(column, None)
    return table([keep(user(), pa.struct(list(columns)))], columns)


COLUMNS = [
    "user_id",
    "profile",
    "target",
    *(f"{place}.{name}" for place in ("profile[]", "target") for name in schema.REVIEW.names),
]


def test_a_valid_dataset_passes(files):
    check_dataset(files.users([user(0), user(1, profile=[])]).open())


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_at_any_depth_is_named_with_its_file(files, column):
    files.users([user(1)], "a.parquet").users(without(column), "b.parquet")
    assert f"users/b.parquet: column {column} is missing (found: " in files.refused()


@pytest.mark.parametrize(
    ("column", "wrong", "value"),
    [
        ("user_id", pa.int64(), {"user_id": 1}),
        ("profile", pa.string(), {"profile": "none"}),
        ("profile", schema.REVIEW, {"profile": review()}),
        ("profile[]", pa.string(), {"profile": ["a review"]}),
        ("profile[].item_id", pa.int64(), {"profile": [review(item_id=1)]}),
        ("profile[].rating", pa.string(), {"profile": [review(rating="5 stars")]}),
        ("profile[].text", pa.binary(), {"profile": [review(text=b"a")]}),
        ("profile[].timestamp", pa.timestamp("ms"), {"profile": [review(timestamp=1)]}),
        ("profile[].timestamp", pa.float64(), {"profile": [review(timestamp=1.0)]}),
        ("target", pa.string(), {"target": "i1"}),
        ("target", pa.float64(), {"target": 1.0}),
        ("target.title", pa.int64(), {"target": review(title=1)}),
        ("target.rating", pa.bool_(), {"target": review(rating=True)}),
    ],
)
def test_a_mistyped_column_at_any_depth_is_named_with_both_types(files, column, wrong, value):
    files.users(table([user(**value)], with_type(column, wrong)))
    message = files.refused()
    assert f"users/part-0.parquet: column {column} is {wrong}, but " in message


@pytest.mark.parametrize("column", ["item_id", "title", "description"])
def test_a_missing_column_of_the_catalogue_is_named(files, column):
    files.users([user()]).items(table(CATALOGUE, schema.CATALOGUE).drop_columns(column), "b.parquet")
    assert f"items/b.parquet: column {column} is missing" in files.refused()


def test_a_mistyped_column_of_the_catalogue_is_named(files):
    rows = pa.table({"item_id": [1], "title": ["a"], "description": ["b"]})
    assert "items/b.parquet: column item_id is int64, but string is needed" in (
        files.users([user()]).items(rows, "b.parquet").refused()
    )


@pytest.mark.parametrize("group_size", [1, 2, 100])
def test_a_null_user_id_is_named_by_its_row_in_the_file(files, group_size):
    files.users([user(9)], "a.parquet")
    files.users([user(0), user(1), user(2), user(user_id=None)], "b.parquet", row_group_size=group_size)
    assert "users/b.parquet: user_id is null in row 3" in files.refused()


@pytest.mark.parametrize("group_size", [1, 100])
def test_a_user_id_that_occurs_twice_in_a_file_is_named(files, group_size):
    files.users([user(0), user(1), user(0)], row_group_size=group_size)
    assert "users/part-0.parquet: user_id 'u0' occurs more than once (again in row 2)" in files.refused()


def test_a_user_id_that_occurs_in_two_files_is_named(files):
    files.users([user(0)], "a.parquet").users([user(1), user(0)], "b.parquet")
    assert "users/b.parquet: user_id 'u0' occurs more than once (again in row 1)" in files.refused()


def test_a_null_or_repeated_item_id_is_named_with_its_file_and_row(files):
    files.users([user()])
    files.items(table([{"item_id": "j"}, {"item_id": None}], schema.CATALOGUE), "z.parquet")
    assert "items/z.parquet: item_id is null in row 1" in files.refused()
    files.items(table([{"item_id": "j"}, {"item_id": "i0"}], schema.CATALOGUE), "z.parquet")
    assert "items/z.parquet: item_id 'i0' occurs more than once (again in row 1)" in files.refused()


@pytest.mark.parametrize("name", ["item_id", "rating", "text", "timestamp"])
@pytest.mark.parametrize("place", ["profile[]", "target"])
def test_a_null_in_a_review_is_named_with_its_user(files, place, name):
    wrong = review(1, **{name: None})
    bad = user(7, profile=[review(1), wrong]) if place == "profile[]" else user(7, target=wrong)
    files.users([user(0)], "a.parquet").users([user(1), user(2, profile=[]), bad], "b.parquet")
    assert f"users/b.parquet: {place}.{name} is null for user u7" in files.refused()


@pytest.mark.parametrize("place", ["profile[]", "target"])
def test_a_rating_that_is_not_a_number_is_named_with_its_user(files, place):
    wrong = review(1, rating=float("nan"))
    bad = user(7, profile=[review(1), wrong]) if place == "profile[]" else user(7, target=wrong)
    files.users([user(0)], "a.parquet").users([user(1), bad], "b.parquet")
    assert f"users/b.parquet: {place}.rating is not a number for user u7" in files.refused()


@pytest.mark.parametrize("column", ["profile", "target"])
def test_a_null_profile_or_target_is_named_with_its_user(files, column):
    files.users([user(0), user(1, **{column: None})])
    assert f"users/part-0.parquet: {column} of user u1 is null" in files.refused()


def test_a_null_review_in_a_profile_is_refused(files):
    files.users([user(4, profile=[review(1), None])])
    assert "is null for user u4" in files.refused()


def test_items_that_the_catalogue_lacks_are_named_with_their_users(files):
    lacking = user(3, profile=[review(1), review(77), review(88)])
    files.users([user(0)], "a.parquet").users([user(1), lacking], "b.parquet")
    message = files.refused()
    assert "users/b.parquet: profile[].item_id names 2 items that the catalogue lacks" in message
    assert "'i77' (user u3), 'i88' (user u3)" in message


def test_a_target_item_that_the_catalogue_lacks_is_named(files):
    files.users([user(0), user(5, target=review(99))])
    assert "target.item_id names 1 items that the catalogue lacks: 'i99' (user u5)" in files.refused()


def test_an_error_does_not_list_a_whole_dataset(files):
    files.users([user(number, target=review(100 + number)) for number in range(200)])
    message = files.refused()
    assert "names 200 items" in message
    assert len(message) < 1000


def test_a_dataset_without_users_is_refused(files):
    assert "the dataset has no users" in files.users([]).refused()


def test_an_empty_catalogue_is_refused(files):
    files.users([user()]).items(table([], schema.CATALOGUE))
    assert "that the catalogue lacks" in files.refused()


def damaged(rows, kind):
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    whole = sink.getvalue().to_pybytes()
    broken = len(whole) // 4
    return {
        "text": b"user_id,profile\n",
        "empty": b"",
        "cut short": whole[:-20],
        "a broken page": whole[:4] + bytes(broken) + whole[4 + broken :],
    }[kind]


@pytest.mark.parametrize("kind", ["text", "empty", "cut short", "a broken page"])
@pytest.mark.parametrize("place", ["users", "items"])
def test_a_file_that_is_not_whole_parquet_is_named(files, place, kind):
    files.users([user()])
    rows = table([user(1)]) if place == "users" else table([{"item_id": "j"}], schema.CATALOGUE)
    getattr(files, place)(damaged(rows, kind), "z.parquet")
    assert f"{place}/z.parquet: not a Parquet file that can be read" in files.refused()


def test_a_number_that_does_not_fit_is_refused_with_its_file(files):
    files.users(table([user(target=review(timestamp=2**63))], with_type("target.timestamp", pa.uint64())))
    assert "users/part-0.parquet: " in files.refused()
