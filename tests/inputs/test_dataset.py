"""A dataset of any layout is found and read alike."""

import pyarrow as pa
import pytest

from drp_ray import schema
from drp_ray.errors import BadInput
from drp_ray.inputs.catalogue import build_catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.storage.folder import open_folder
from tests.inputs.files import Files, review, table, user, with_type


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
