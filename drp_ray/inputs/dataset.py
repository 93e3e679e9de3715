"""The input: test users and an item catalogue in Parquet files of any layout, checked before anything starts."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray import schema
from drp_ray.config import Users
from drp_ray.errors import BadInput
from drp_ray.storage.folder import Entry, Folder

SPLITS = ("train", "val", "test")
UNFINISHED = "unfinished.json"
"""Lies in a dataset's folder while `drp-ray data` makes it."""
REQUIRED_OF_REVIEW = ("item_id", "rating", "text", "timestamp")
FEW = 5
"""How many offending rows an error names."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file: the unit in which files of any size are read."""

    file: str
    index: int
    rows: int


@dataclass(frozen=True)
class Dataset:
    """A folder with `users/` inside, and `items/` inside or beside it."""

    folder: Folder
    users: Folder
    items: Folder

    @classmethod
    def open(cls, folder: Folder, parent: Folder) -> "Dataset":
        """Find the two folders.

        Raises:
            BadInput: one of them holds no Parquet file, or the dataset is not finished.
        """
        _refuse_unfinished(folder, parent)
        users = folder.at("users")
        if not _parquet_files(users):
            raise BadInput(f"{users.uri}: no Parquet files; a dataset is a folder with users/ and items/")
        for items in (folder.at("items"), parent.at("items")):
            if _parquet_files(items):
                return cls(folder, users, items)
        raise BadInput(f"{folder.uri}: no Parquet files in items/, neither inside nor beside the dataset")

    @property
    def name(self) -> str:
        """The folder's name; that of a split is preceded by its parent's."""
        path = PurePosixPath(self.folder.uri.replace("://", "/"))
        return f"{path.parent.name}-{path.name}" if path.name in SPLITS else path.name

    def identity(self) -> dict[str, str]:
        """What the files hold, by name: the same until a file changes."""
        return {
            f"{kind}/{entry.name}": folder.content_tag(entry)
            for kind, folder in (("users", self.users), ("items", self.items))
            for entry in _parquet_files(folder)
        }

    def row_groups(self) -> list[RowGroup]:
        """The row groups of all user files, in the dataset's order."""
        groups = []
        for entry in _parquet_files(self.users):
            with self.users.open(entry.name) as file:
                metadata = pq.read_metadata(file)
            sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
            groups += [RowGroup(entry.name, index, size) for index, size in enumerate(sizes)]
        return groups

    def read_users(self, group: RowGroup) -> pa.Table:
        """A row group with the columns and types of `schema.USERS`."""
        return self._read_group(group, None).select(schema.USERS.names).cast(schema.USERS)

    def read_user_ids(self, group: RowGroup) -> list[str]:
        """The user ids of a row group."""
        return self._read_group(group, ["user_id"])["user_id"].to_pylist()

    def read_profile_items(self, group: RowGroup) -> pa.Table:
        """Which user has which item in the profile: `user` (row in the group), `item_id`; a pair stands once."""
        rows = self._read_group(group, ["profile.*.item_id"])
        if "profile" not in rows.column_names:  # all empty: a writer that infers types knows no field to write
            return pa.table({"user": pa.array([], pa.int64()), "item_id": pa.array([], pa.string())})
        profiles = rows["profile"].combine_chunks()
        items = pc.struct_field(pc.list_flatten(profiles), "item_id").cast(pa.string())
        pairs = pa.table({"user": pc.list_parent_indices(profiles), "item_id": items})
        return pairs.group_by(["user", "item_id"]).aggregate([])

    def read_target_items(self, group: RowGroup) -> pa.ChunkedArray:
        """The item that every user of a row group is to review."""
        return pc.struct_field(self._read_group(group, ["target.item_id"])["target"], "item_id").cast(pa.string())

    def read_catalogue(self) -> Iterator[pa.Table]:
        """The item files with the columns and types of `schema.CATALOGUE`."""
        for entry in _parquet_files(self.items):
            yield _read_items(self.items, entry.name)

    def _read_group(self, group: RowGroup, patterns: list[str] | None) -> pa.Table:
        """Read whole columns, or the leaves that match: writers differ in how they name a list's elements."""
        with self.users.open(group.file) as file:
            parquet = pq.ParquetFile(file)
            leaves = [parquet.schema.column(index).path for index in range(len(parquet.schema))]
            wanted = patterns and [leaf for leaf in leaves if any(fnmatch(leaf, pattern) for pattern in patterns)]
            return parquet.read_row_group(group.index, columns=wanted)


def _refuse_unfinished(folder: Folder, parent: Folder) -> None:
    is_split = PurePosixPath(folder.uri).name in SPLITS
    for place in (folder, parent) if is_split else (folder,):
        if any(entry.name == UNFINISHED for entry in place.entries()):
            raise BadInput(f"{place.uri}: this dataset is not finished; give the command that makes it again")


def _parquet_files(folder: Folder) -> list[Entry]:
    return [entry for entry in folder.entries() if entry.name.endswith(".parquet")]


def _read_items(folder: Folder, name: str) -> pa.Table:
    with folder.open(name) as file:
        return pq.read_table(file, columns=schema.CATALOGUE.names).cast(schema.CATALOGUE)


def check_dataset(dataset: Dataset) -> None:
    """Read the whole dataset once, in pieces, and refuse what the job could stumble over later.

    Raises:
        BadInput: a column is missing or has another type, an id is null or occurs twice, a value that a review
            needs is null, an item is not in the catalogue, or there are no users; file and row are named.
    """
    known = _checked_catalogue(dataset)
    seen: set[str] = set()
    for entry in _parquet_files(dataset.users):
        _check_columns(dataset.users, entry.name, schema.USERS)
    rows_before: dict[str, int] = {}
    for group in dataset.row_groups():
        where, first_row = f"{dataset.users.uri}/{group.file}", rows_before.get(group.file, 0)
        with _readable(where):
            rows = dataset.read_users(group)
        _check_ids(rows["user_id"], "user_id", seen, where, first_row)
        _check_reviews(rows, known, where)
        rows_before[group.file] = first_row + group.rows
    if not seen:
        raise BadInput(f"{dataset.users.uri}: the dataset has no users")


def _checked_catalogue(dataset: Dataset) -> pa.Array:
    seen: set[str] = set()
    for entry in _parquet_files(dataset.items):
        where = f"{dataset.items.uri}/{entry.name}"
        _check_columns(dataset.items, entry.name, schema.CATALOGUE)
        with _readable(where):
            rows = _read_items(dataset.items, entry.name)
        _check_ids(rows["item_id"], "item_id", seen, where, 0)
    return pa.array(sorted(seen), pa.string())


def _check_columns(folder: Folder, name: str, wanted: pa.Schema) -> None:
    where = f"{folder.uri}/{name}"
    with _readable(where), folder.open(name) as file:
        found = pq.read_schema(file)
    for field in wanted:
        if found.names.count(field.name) != 1:
            wrong = "occurs more than once" if field.name in found.names else "is missing"
            raise BadInput(f"{where}: column {field.name} {wrong} (found: {', '.join(found.names)})")
        _check_type(found.field(field.name).type, field.type, field.name, where)


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Name the file that cannot be read: pyarrow says ArrowInvalid of a bad footer, OSError of a bad page."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{where}: not a Parquet file that can be read: {error}") from error


def _check_type(found: pa.DataType, wanted: pa.DataType, column: str, where: str) -> None:
    """Accept what can be cast without loss of meaning: any integer or float for a number, large strings, …"""
    if pa.types.is_struct(wanted) and pa.types.is_struct(found):
        names = [found.field(index).name for index in range(found.num_fields)]
        for field in wanted:
            if field.name not in names:
                raise BadInput(f"{where}: column {column}.{field.name} is missing (found: {', '.join(names)})")
            _check_type(found.field(field.name).type, field.type, f"{column}.{field.name}", where)
    elif pa.types.is_list(wanted) and (pa.types.is_list(found) or pa.types.is_large_list(found)):
        _check_type(found.value_type, wanted.value_type, f"{column}[]", where)
    elif not _is_castable(found, wanted):
        raise BadInput(f"{where}: column {column} is {found}, but {wanted} is needed")


def _is_castable(found: pa.DataType, wanted: pa.DataType) -> bool:
    types = pa.types
    if types.is_null(found):
        return True
    if types.is_string(wanted):
        return types.is_string(found) or types.is_large_string(found)
    if types.is_integer(wanted):
        return types.is_integer(found)
    return types.is_floating(wanted) and (types.is_floating(found) or types.is_integer(found))


def _check_ids(ids: pa.ChunkedArray, column: str, seen: set[str], where: str, first_row: int) -> None:
    try:
        values = ids.to_pylist()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: {column} holds bytes that are not UTF-8 ({error})") from error
    for row, value in enumerate(values, first_row):
        if value is None:
            raise BadInput(f"{where}: {column} is null in row {row}")
        if value in seen:
            raise BadInput(f"{where}: {column} {value!r} occurs more than once (again in row {row})")
        seen.add(value)


def _check_reviews(rows: pa.Table, known: pa.Array, where: str) -> None:
    users = rows["user_id"].combine_chunks()
    for column in ("profile", "target"):
        if rows[column].null_count:
            first = users.filter(pc.is_null(rows[column].combine_chunks()))[0]
            raise BadInput(f"{where}: {column} of user {first} is null")
    profiles = rows["profile"].combine_chunks()
    owners = users.take(pc.list_parent_indices(profiles))
    _check_values(pc.list_flatten(profiles), owners, known, f"{where}: profile[]")
    _check_values(rows["target"].combine_chunks(), users, known, f"{where}: target")


def _check_values(reviews: pa.StructArray, owners: pa.Array, known: pa.Array, place: str) -> None:
    for name in REQUIRED_OF_REVIEW:
        values = pc.struct_field(reviews, name)
        missing = pc.is_null(values, nan_is_null=True)
        if pc.any(missing).as_py():
            what = "null" if values.filter(missing)[0].as_py() is None else "not a number"
            raise BadInput(f"{place}.{name} is {what} for user {owners.filter(missing)[0]}")
    items = pc.struct_field(reviews, "item_id")
    unknown = pc.invert(pc.is_in(items, value_set=known))
    if pc.any(unknown).as_py():
        pairs = zip(items.filter(unknown).to_pylist(), owners.filter(unknown).to_pylist(), strict=True)
        examples = dict(reversed(list(pairs)))
        told = ", ".join(f"{item!r} (user {user})" for item, user in sorted(examples.items())[:FEW])
        raise BadInput(f"{place}.item_id names {len(examples)} items that the catalogue lacks: {told}")


def chosen_rows(dataset: Dataset, users: Users) -> list[tuple[RowGroup, list[int]]]:
    """Which rows of which row groups are predicted for: the first `limit`, a seeded `sample`, or all."""
    groups = dataset.row_groups()
    if users.limit is not None:
        return _first_rows(groups, users.limit)
    if users.sample is None:
        return [(group, list(range(group.rows))) for group in groups if group.rows]
    drawn = [
        (_draw(users.seed, user_id), number, row)
        for number, group in enumerate(groups)
        for row, user_id in enumerate(dataset.read_user_ids(group))
    ]
    chosen = sorted(drawn)[: users.sample]
    return _by_group(groups, [(number, row) for _, number, row in chosen])


def _first_rows(groups: Sequence[RowGroup], limit: int) -> list[tuple[RowGroup, list[int]]]:
    chosen = []
    for group in groups:
        rows = list(range(min(group.rows, limit)))
        limit -= len(rows)
        if rows:
            chosen.append((group, rows))
    return chosen


def _by_group(groups: Sequence[RowGroup], rows: list[tuple[int, int]]) -> list[tuple[RowGroup, list[int]]]:
    chosen: dict[int, list[int]] = {}
    for number, row in sorted(rows):
        chosen.setdefault(number, []).append(row)
    return [(groups[number], rows) for number, rows in chosen.items()]


def _draw(seed: int, user_id: str) -> bytes:
    """A user's place in the seeded order, the same whatever the files look like."""
    return hashlib.sha256(f"{seed}\0{user_id}".encode()).digest()
