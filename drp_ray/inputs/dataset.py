"""A dataset as a job reads it: users and items in Parquet files of any number, size and row groups."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray import schema
from drp_ray.errors import BadInput, DatasetChanged
from drp_ray.inputs.leaks import without_leaks
from drp_ray.inputs.pseudonyms import with_pseudonyms
from drp_ray.storage.folder import Entry, Folder

SPLITS = ("train", "val", "test")
UNFINISHED = "unfinished.json"
"""This file is in a dataset's folder while `drp-ray data` makes it."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file: the unit in which files of any size are read."""

    file: str
    index: int
    rows: int


@dataclass(frozen=True)
class Dataset:
    """A folder with `users/` inside, and `items/` inside or beside it.

    With `drops_leaks` every profile is read without the user's target and without reviews later than that, and with
    `pseudonym_key` users are read under pseudonyms.
    """

    folder: Folder
    users: Folder
    items: Folder
    drops_leaks: bool = False
    pseudonym_key: bytes | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: Folder, parent: Folder) -> "Dataset":
        """Find the users and the items; `parent` is the folder that `folder` is in.

        Raises:
            BadInput: one of them has no Parquet file, or the dataset is not finished.
        """
        _refuse_unfinished(folder, parent)
        users = folder.at("users")
        if not parquet_files(users):
            raise BadInput(f"{users.uri}: no Parquet files; a dataset is a folder with users/ and items/")
        for items in (folder.at("items"), parent.at("items")):
            if parquet_files(items):
                return cls(folder, users, items)
        raise BadInput(f"{folder.uri}: no Parquet files in items/, neither inside nor beside the dataset")

    @property
    def name(self) -> str:
        """The name of its folder (`dataset_name`)."""
        return dataset_name(self.folder.uri)

    def identity(self) -> dict[str, str]:
        """A tag of each file's content, by the file's name."""
        return {
            f"{kind}/{entry.name}": folder.content_tag(entry)
            for kind, folder in (("users", self.users), ("items", self.items))
            for entry in parquet_files(folder)
        }

    def check_unchanged(self, identity: Mapping[str, str]) -> None:
        """See that the files are those of an identity that was taken before.

        Raises:
            DatasetChanged: one of them came, went or changed.
        """
        now = self.identity()
        changed = sorted(name for name in {*identity, *now} if identity.get(name) != now.get(name))
        if changed:
            raise DatasetChanged(
                f"{self.folder.uri}: the dataset was changed while the job read it ({', '.join(changed[:3])}"
                f"{', …' if len(changed) > 3 else ''}). What was being made of it does not count: put the "
                "files back and give the same command, or give the run another name and it is of the files as they are"
            )

    def row_groups(self) -> list[RowGroup]:
        """The row groups of all user files, in the dataset's order."""
        groups = []
        for entry in parquet_files(self.users):
            with self.users.open(entry.name) as file:
                metadata = pq.read_metadata(file)
            sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
            groups += [RowGroup(entry.name, index, size) for index, size in enumerate(sizes)]
        return groups

    def read_users(self, group: RowGroup) -> pa.Table:
        """A row group with the columns and types of `schema.USERS`."""
        users = self._read_group(group, None).select(schema.USERS.names).cast(schema.USERS)
        users = without_leaks(users) if self.drops_leaks else users
        return users if self.pseudonym_key is None else with_pseudonyms(users, self.pseudonym_key)

    def read_user_ids(self, group: RowGroup) -> list[str]:
        """The user ids of a row group, as the dataset has them: whom a job chooses depends on no key."""
        ids: list[str] = self._read_group(group, ["user_id"])["user_id"].to_pylist()
        return ids

    def read_profile_items(self, group: RowGroup) -> pa.Table:
        """Which user has which item in the profile: columns `user` (row in the group) and `item_id`, each pair once."""
        rows = self.read_users(group) if self.drops_leaks else self._read_group(group, ["profile.*.item_id"])
        if "profile" not in rows.column_names:  # all are empty, and the writer, which infers types, wrote no field
            return pa.table({"user": pa.array([], pa.int64()), "item_id": pa.array([], pa.string())})
        profiles = rows["profile"].combine_chunks()
        items = pc.struct_field(pc.list_flatten(profiles), "item_id").cast(pa.string())
        pairs = pa.table({"user": pc.list_parent_indices(profiles), "item_id": items})
        return pairs.group_by(["user", "item_id"]).aggregate([])

    def read_target_items(self, group: RowGroup) -> pa.ChunkedArray:
        """The item of each user's target, for a row group."""
        return pc.struct_field(self._read_group(group, ["target.item_id"])["target"], "item_id").cast(pa.string())

    def read_catalogue(self) -> Iterator[pa.Table]:
        """The item files with the columns and types of `schema.CATALOGUE`."""
        for entry in parquet_files(self.items):
            yield self.read_items(entry.name)

    def read_items(self, file: str) -> pa.Table:
        """An item file with the columns and types of `schema.CATALOGUE`."""
        with self.items.open(file) as opened:
            return pq.read_table(opened, columns=schema.CATALOGUE.names).cast(schema.CATALOGUE)

    def _read_group(self, group: RowGroup, patterns: list[str] | None) -> pa.Table:
        """Read the leaf columns that match a pattern, or all: writers name the elements of a list differently."""
        with self.users.open(group.file) as file:
            parquet = pq.ParquetFile(file)
            if patterns is None:
                return parquet.read_row_group(group.index)
            leaves = [parquet.schema.column(index).path for index in range(len(parquet.schema))]
            wanted = [leaf for leaf in leaves if any(fnmatch(leaf, pattern) for pattern in patterns)]
            return parquet.read_row_group(group.index, columns=wanted)


def dataset_name(uri: str) -> str:
    """The folder's name; for a split (`test`), with its parent's name before it."""
    path = PurePosixPath(uri.replace("://", "/"))
    if path.name in ("", ".", ".."):
        raise BadInput(f"{uri}: a dataset needs a folder with a name: results are kept under it")
    return f"{path.parent.name}-{path.name}" if path.name in SPLITS else path.name


def _refuse_unfinished(folder: Folder, parent: Folder) -> None:
    is_split = PurePosixPath(folder.uri).name in SPLITS
    for place in (folder, parent) if is_split else (folder,):
        if any(entry.name == UNFINISHED for entry in place.entries()):
            raise BadInput(f"{place.uri}: this dataset is not finished; give the command that makes it again")


def parquet_files(folder: Folder) -> list[Entry]:
    """The Parquet files of a folder, by name."""
    return [entry for entry in folder.entries() if entry.name.endswith(".parquet")]
