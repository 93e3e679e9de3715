"""Check a dataset before anything starts, so that a wrong row does not stop a job half-way."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray import schema
from drp_ray.config import Leaks
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset import Dataset, parquet_files
from drp_ray.inputs.leaks import LeakCounts, count_leaks
from drp_ray.storage.folder import Folder

REQUIRED_OF_REVIEW = ("item_id", "rating", "text", "timestamp")
TEXTS_OF_REVIEW = ("item_id", "title", "text")
MAX_EXAMPLES = 5
"""How many wrong rows an error names."""


def check_dataset(dataset: Dataset, leaks: Leaks = "keep") -> LeakCounts:
    """Read the whole dataset once, in pieces, and refuse what a stage could fail on later; the leaks in it.

    Raises:
        BadInput: a column is missing or has another type, an id is null or occurs twice, a value that a review
            needs is null, an item is not in the catalogue, or there are no users; file and row are named. With
            `leaks` refuse also where a profile holds the user's target or later reviews.
    """
    # With leaks dropped there would be none to count.
    dataset = replace(dataset, drops_leaks=False, pseudonym_key=None)
    found = LeakCounts()
    known_items = _checked_items(dataset)
    user_ids: set[str] = set()
    for entry in parquet_files(dataset.users):
        _check_columns(dataset.users, entry.name, schema.USERS)
    rows_before: dict[str, int] = {}
    for group in dataset.row_groups():
        where, first_row = f"{dataset.users.uri}/{group.file}", rows_before.get(group.file, 0)
        with _unreadable_refused(where):
            rows = dataset.read_users(group)
        _check_ids(rows["user_id"], "user_id", user_ids, where, first_row)
        _check_reviews(rows, known_items, where)
        found += count_leaks(rows)
        rows_before[group.file] = first_row + group.rows
    if not user_ids:
        raise BadInput(f"{dataset.users.uri}: the dataset has no users")
    if found and leaks == "refuse":
        raise BadInput(
            f"{dataset.users.uri}: {found}. They give away what is to be predicted: `users.leaks: drop` reads every "
            "profile without them, `keep` as it is"
        )
    return found


def _checked_items(dataset: Dataset) -> pa.Array:
    """Check the item files; the ids of all items."""
    item_ids: set[str] = set()
    for entry in parquet_files(dataset.items):
        where = f"{dataset.items.uri}/{entry.name}"
        _check_columns(dataset.items, entry.name, schema.CATALOGUE)
        with _unreadable_refused(where):
            rows = dataset.read_items(entry.name)
        _check_ids(rows["item_id"], "item_id", item_ids, where, 0)
        for column in ("title", "description"):
            wrong = _first_not_utf8(rows[column].combine_chunks())
            if wrong is not None:
                item = rows["item_id"][wrong].as_py()
                raise BadInput(f"{where}: {column} of item {item!r} holds bytes that are not UTF-8")
    return pa.array(sorted(item_ids), pa.string())


def _check_columns(folder: Folder, name: str, wanted: pa.Schema) -> None:
    where = f"{folder.uri}/{name}"
    with _unreadable_refused(where), folder.open(name) as file:
        found = pq.read_schema(file)
    for field in wanted:
        if found.names.count(field.name) != 1:
            wrong = "occurs more than once" if field.name in found.names else "is missing"
            raise BadInput(f"{where}: column {field.name} {wrong} (found: {', '.join(found.names)})")
        _check_type(found.field(field.name).type, field.type, field.name, where)


@contextmanager
def _unreadable_refused(where: str) -> Iterator[None]:
    """Name the file that cannot be read. pyarrow raises ArrowInvalid for a bad footer, OSError for a bad page."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{where}: not a Parquet file that can be read: {error}") from error


def _check_type(found: pa.DataType, wanted: pa.DataType, column: str, where: str) -> None:
    """Accept a type that can be cast to the wanted one with its meaning: integers for a number, large strings, …"""
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
        return bool(types.is_string(found) or types.is_large_string(found))
    if types.is_integer(wanted):
        return bool(types.is_integer(found))
    return bool(types.is_floating(wanted) and (types.is_floating(found) or types.is_integer(found)))


def _check_ids(ids: pa.ChunkedArray, column: str, seen: set[str], where: str, first_row: int) -> None:
    """Refuse null ids and ids that are in `seen` already; add the others to it."""
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


def _first_not_utf8(texts: pa.Array) -> int | None:
    """The place of the first text that is no UTF-8. Parquet does not look, and who reads the text fails."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        for place, data in enumerate(texts.cast(pa.binary()).to_pylist()):
            try:
                (data or b"").decode()
            except UnicodeDecodeError:
                return place
    return None


def _check_reviews(rows: pa.Table, known_items: pa.Array, where: str) -> None:
    users = rows["user_id"].combine_chunks()
    for column in ("profile", "target"):
        if rows[column].null_count:
            first = users.filter(pc.is_null(rows[column].combine_chunks()))[0]
            raise BadInput(f"{where}: {column} of user {first} is null")
    profiles = rows["profile"].combine_chunks()
    owners = users.take(pc.list_parent_indices(profiles))
    _check_values(pc.list_flatten(profiles), owners, known_items, f"{where}: profile[]")
    _check_values(rows["target"].combine_chunks(), users, known_items, f"{where}: target")


def _check_values(reviews: pa.StructArray, owners: pa.Array, known_items: pa.Array, place: str) -> None:
    """Refuse reviews without a value that the method reads; `owners` are their users' ids."""
    items = pc.struct_field(reviews, "item_id")
    for name in TEXTS_OF_REVIEW:
        wrong = _first_not_utf8(pc.struct_field(reviews, name))
        if wrong is not None:
            item = items[wrong].as_buffer().to_pybytes().decode(errors="replace") if items[wrong].is_valid else None
            raise BadInput(
                f"{place}.{name} of user {owners[wrong].as_py()!r}, item {item!r}, holds bytes that are not UTF-8: "
                "write the file again with text that is decoded"
            )
    for name in REQUIRED_OF_REVIEW:
        values = pc.struct_field(reviews, name)
        missing = pc.is_null(values, nan_is_null=True)
        if pc.any(missing).as_py():
            what = "null" if values.filter(missing)[0].as_py() is None else "not a number"
            raise BadInput(f"{place}.{name} is {what} for user {owners.filter(missing)[0]}")
    _check_items_known(items, owners, known_items, place)


def _check_items_known(items: pa.Array, owners: pa.Array, known_items: pa.Array, place: str) -> None:
    unknown = pc.invert(pc.is_in(items, value_set=known_items))
    first_owners: dict[str, str] = {}
    for item, owner in zip(items.filter(unknown).to_pylist(), owners.filter(unknown).to_pylist(), strict=True):
        first_owners.setdefault(item, owner)
    if first_owners:
        examples = ", ".join(f"{item!r} (user {owner})" for item, owner in sorted(first_owners.items())[:MAX_EXAMPLES])
        raise BadInput(f"{place}.item_id names {len(first_owners)} items that the catalogue lacks: {examples}")
