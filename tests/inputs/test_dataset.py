"""A dataset of any layout is read alike; one that the job could stumble over is refused with file and row."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import Users
from drp_ray.errors import BadInput
from drp_ray.inputs.catalogue import build_catalogue
from drp_ray.inputs.dataset import Dataset, check_dataset, chosen_rows
from drp_ray.storage.folder import S3Options, open_folder

CATALOGUE = [{"item_id": f"i{number}", "title": f"Item {number}", "description": None} for number in range(5)]


def review(item=0, **changes):
    return {"item_id": f"i{item}", "rating": 4.0, "title": None, "text": "good", "timestamp": 1, **changes}


def user(number=0, **changes):
    return {"user_id": f"u{number}", "profile": [review(1), review(2)], "target": review(3), **changes}


def table(rows, columns=schema.USERS):
    return pa.Table.from_pylist(rows, columns)


class Files:
    """A dataset on a disk, written file by file."""

    def __init__(self, path):
        self.path = path
        self.items(table(CATALOGUE, schema.CATALOGUE))

    def items(self, rows, name="part-0.parquet", **options):
        return self._write("items", rows, name, options)

    def users(self, rows, name="part-0.parquet", **options):
        rows = rows if isinstance(rows, pa.Table | bytes) else table(rows)
        return self._write("users", rows, name, options)

    def _write(self, kind, rows, name, options):
        target = self.path / kind / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(rows, bytes):
            target.write_bytes(rows)
        else:
            pq.write_table(rows, target, **options)
        return self

    def open(self):
        folder = open_folder(str(self.path), S3Options())
        return Dataset.open(folder, open_folder(str(self.path.parent), S3Options()))

    def refused(self):
        """What the check says is wrong."""
        with pytest.raises(BadInput) as told:
            check_dataset(self.open())
        return str(told.value)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "data")


def with_type(column, new_type):
    """`schema.USERS` with another type at a place such as `profile[].rating`; without it where that is None."""

    def changed(found, steps):
        if not steps:
            return new_type
        step, *rest = steps
        if step == "[]":
            return pa.list_(changed(found.value_type, rest))
        fields = [
            (field.name, changed(field.type, rest) if field.name == step else field.type)
            for field in (found.field(index) for index in range(found.num_fields))
        ]
        return pa.struct([field for field in fields if field[1] is not None])

    whole = changed(pa.struct(list(schema.USERS)), column.replace("[]", ".[]").split("."))
    return pa.schema(list(whole))


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
        ("target.title", pa.int64(), {"target": review(title=1)}),
        ("target.rating", pa.bool_(), {"target": review(rating=True)}),
    ],
)
def test_a_mistyped_column_at_any_depth_is_named_with_both_types(files, column, wrong, value):
    files.users(table([user(**value)], with_type(column, wrong)))
    told = files.refused()
    assert f"users/part-0.parquet: column {column} is {wrong}, but " in told


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
    told = files.refused()
    assert "users/b.parquet: profile[].item_id names 2 items that the catalogue lacks" in told
    assert "'i77' (user u3), 'i88' (user u3)" in told


def test_a_target_item_that_the_catalogue_lacks_is_named(files):
    files.users([user(0), user(5, target=review(99))])
    assert "target.item_id names 1 items that the catalogue lacks: 'i99' (user u5)" in files.refused()


def test_an_error_does_not_list_a_whole_dataset(files):
    files.users([user(number, target=review(100 + number)) for number in range(200)])
    told = files.refused()
    assert "names 200 items" in told
    assert len(told) < 1000


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


class TestFolders:
    def test_a_folder_without_users_is_refused(self, tmp_path):
        with pytest.raises(BadInput, match=r"data/users: no Parquet files; a dataset is a folder with "):
            Files(tmp_path / "data").open()

    def test_a_folder_without_items_is_refused(self, files):
        files.users([user()])
        (files.path / "items" / "part-0.parquet").unlink()
        with pytest.raises(BadInput, match="data: no Parquet files in items/, neither inside nor beside"):
            files.open()

    @pytest.mark.parametrize("split", ["train", "val", "test"])
    def test_a_split_has_its_items_beside_it_and_its_parents_name(self, tmp_path, split):
        Files(tmp_path / "books")
        files = Files(tmp_path / "books" / split).users([user()])
        (files.path / "items" / "part-0.parquet").unlink()
        dataset = files.open()
        check_dataset(dataset)
        assert dataset.items.uri == str(tmp_path / "books" / "items")
        assert dataset.name == f"books-{split}"

    def test_items_inside_come_first(self, tmp_path):
        Files(tmp_path / "books")
        dataset = Files(tmp_path / "books" / "test").users([user()]).open()
        assert dataset.items.uri == str(tmp_path / "books" / "test" / "items")

    def test_another_folder_has_its_own_name(self, files):
        assert files.users([user()]).open().name == "data"

    def test_other_files_are_left_alone(self, files):
        files.users([user()]).users(b"done", "_SUCCESS")
        check_dataset(files.open())
        assert len(files.open().row_groups()) == 1

    def test_a_dataset_in_a_bucket_is_read(self, files, s3_server, bucket):
        files.users([user(0), user(1)])
        folder = open_folder(f"s3://{bucket}/books/test", s3_server.options)
        folder.at("users").write("a.parquet", (files.path / "users" / "part-0.parquet").read_bytes())
        parent = open_folder(f"s3://{bucket}/books", s3_server.options)
        parent.at("items").write("a.parquet", (files.path / "items" / "part-0.parquet").read_bytes())
        dataset = Dataset.open(folder, parent)
        check_dataset(dataset)
        assert dataset.name == "books-test"
        assert dataset.read_user_ids(dataset.row_groups()[0]) == ["u0", "u1"]


ROWS = [user(0), user(1, profile=[]), user(2, profile=[review(4, title="Fine", rating=3.0, timestamp=7)])]
ELEMENT = pa.list_(pa.field("element", schema.REVIEW, nullable=False))
REORDERED = pa.struct(list(reversed(list(schema.REVIEW))))
LARGE = pa.struct(
    [(field.name, pa.large_string() if field.type == pa.string() else field.type) for field in schema.REVIEW]
)
NUMBERS = pa.struct(
    [
        (field.name, {"rating": pa.int8(), "timestamp": pa.int32()}.get(field.name, field.type))
        for field in schema.REVIEW
    ]
)
MORE = pa.struct([*schema.REVIEW, ("votes", pa.int64())])


@pytest.mark.parametrize(
    "columns",
    [
        [("user_id", pa.large_string()), ("profile", pa.large_list(LARGE)), ("target", LARGE)],
        [("user_id", pa.string()), ("profile", pa.list_(NUMBERS)), ("target", NUMBERS)],
        [("target", REORDERED), ("profile", pa.list_(REORDERED)), ("user_id", pa.string())],
        [("user_id", pa.string()), ("profile", ELEMENT), ("target", schema.REVIEW)],
        [("user_id", pa.string()), ("profile", pa.list_(MORE)), ("target", MORE), ("note", pa.string())],
    ],
    ids=["large", "integers", "reordered", "element", "more columns"],
)
@pytest.mark.parametrize("compliant", [True, False])
def test_what_other_writers_do_is_accepted_and_read_alike(files, columns, compliant):
    files.users(table(ROWS, pa.schema(columns)), use_compliant_nested_type=compliant)
    dataset = files.open()
    check_dataset(dataset)
    [group] = dataset.row_groups()
    assert dataset.read_users(group).schema == schema.USERS
    assert dataset.read_users(group).to_pylist() == ROWS
    assert dataset.read_user_ids(group) == ["u0", "u1", "u2"]
    assert dataset.read_target_items(group).to_pylist() == ["i3", "i3", "i3"]
    pairs = dataset.read_profile_items(group).sort_by([("user", "ascending"), ("item_id", "ascending")])
    assert [tuple(pair.values()) for pair in pairs.to_pylist()] == [(0, "i1"), (0, "i2"), (2, "i4")]


def test_a_title_column_of_nulls_only_is_accepted(files):
    files.users(table([user()], with_type("target.title", pa.null())))
    check_dataset(files.open())


def test_profiles_that_are_all_empty_are_accepted(files):
    columns = with_type("profile[]", pa.null())
    dataset = files.users(table([user(0, profile=[]), user(1, profile=[])], columns)).open()
    check_dataset(dataset)
    assert build_catalogue(dataset)["reviewers"].to_pylist() == [0]


def test_several_files_and_row_groups_are_read_in_order(files):
    rows = [user(number) for number in range(10)]
    files.users(rows[6:], "b.parquet", row_group_size=3).users(rows[:6], "a.parquet", row_group_size=2)
    dataset = files.open()
    check_dataset(dataset)
    groups = dataset.row_groups()
    assert [group.rows for group in groups] == [2, 2, 2, 3, 1]
    assert [name for group in groups for name in dataset.read_user_ids(group)] == [f"u{n}" for n in range(10)]


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


class TestIdentity:
    def test_it_is_the_same_until_something_changes(self, files):
        files.users([user(0)])
        assert files.open().identity() == files.open().identity()

    @pytest.mark.parametrize("kind", ["users", "items"])
    def test_another_content_name_or_number_of_files_changes_it(self, files, kind):
        files.users([user(0)])
        seen = [files.open().identity()]
        path = files.path / kind / "part-0.parquet"
        content = path.read_bytes()
        path.write_bytes(content.replace(b"i3", b"i4"))
        seen.append(files.open().identity())
        path.write_bytes(content)
        assert files.open().identity() == seen[0]
        path.rename(path.with_name("part-1.parquet"))
        seen.append(files.open().identity())
        path.write_bytes(content)
        seen.append(files.open().identity())
        assert len({tuple(sorted(identity.items())) for identity in seen}) == 4

    def test_a_copy_elsewhere_has_the_same(self, tmp_path):
        one, other = (Files(tmp_path / name).users([user(0)]).open().identity() for name in ("a", "b"))
        assert one == other
