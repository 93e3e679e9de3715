"""A folder with the same few verbs on a disk and in a bucket, and how to open one.

Every write is atomic: a reader sees the old content or the new, never a part of it. `create` and `swap` are the
conditional writes that leases need. What is a part, and what is done, is decided elsewhere (`parts`).
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from drp_ray.errors import BadInput
from drp_ray.storage.bucket import BucketFolder, S3Options, StorageUnreachable
from drp_ray.storage.entry import Entry
from drp_ray.storage.local import DiskFailed, LocalFolder

__all__ = [
    "BucketFolder",
    "DiskFailed",
    "Entry",
    "Folder",
    "LocalFolder",
    "S3Options",
    "StorageUnreachable",
    "check_reachable",
    "impatient",
    "open_folder",
    "parent_of",
    "write_if_changed",
]


class Folder(Protocol):
    """A folder. Names may hold `/`; a missing file raises FileNotFoundError."""

    @property
    def uri(self) -> str:
        """The absolute path or `s3://` address of this folder."""

    def at(self, *names: str) -> "Folder":
        """A folder below this one; it need not exist."""

    def entries(self) -> list[Entry]:
        """The files directly in this folder, by name; none where the folder does not exist."""

    def folders(self) -> list[str]:
        """The names of the folders directly in this one; none where it does not exist."""

    def content_tag(self, entry: Entry) -> str:
        """A short text that changes with the file's content."""

    def read(self, name: str) -> bytes:
        """The whole content of a file."""

    def open(self, name: str) -> pa.NativeFile:
        """A file of which parts can be read."""

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, atomically and durably."""

    def write_file(self, name: str, source: Path) -> None:
        """Write or replace a file with the content of a local one, which need not fit the memory."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where there is none; False where there is one."""

    def swap(self, name: str, was: bytes, data: bytes) -> bool:
        """Replace a file only while its content is `was`; False where it is not."""

    def delete(self, name: str) -> None:
        """Remove a file, if there is one."""

    def delete_temporary_files(self, older_than_s: float = 0) -> None:
        """Remove what writers that were killed have left here and below."""


def open_folder(location: str, s3: S3Options) -> Folder:
    """Open a local path or an `s3://bucket/prefix` address; nothing is read or written yet.

    Raises:
        BadInput: the location has another scheme or names no bucket, or `..` is in the address of a bucket.
    """
    if "://" not in location:
        path = Path(location).absolute()
        return LocalFolder(path.resolve() if ".." in path.parts else path)
    scheme, _, rest = location.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise BadInput(f"{location}: use a local path or s3://BUCKET/PREFIX")
    if {".", ".."} & set(prefix.split("/")):
        raise BadInput(f"{location}: . and .. mean nothing in a bucket; write the prefix out")
    return BucketFolder(bucket, prefix.strip("/"), s3)


def parent_of(folder: Folder, s3: S3Options) -> Folder:
    """The folder that a folder is in; of a whole bucket, itself."""
    parent, _, _ = folder.uri.rpartition("/")
    return folder if parent.endswith(":/") else open_folder(parent or "/", s3)


def write_if_changed(folder: Folder, name: str, data: bytes) -> None:
    """Write a file unless it holds just that already: so what is finished can be shown where nothing can be written."""
    try:
        if folder.read(name) == data:
            return
    except FileNotFoundError:
        pass
    folder.write(name, data)


def check_reachable(folder: Folder) -> None:
    """List a folder once, before anything depends on it; a bucket gets less time than usual to answer.

    Raises:
        BadInput: a file is where the folder is to be; or the bucket does not exist, refuses, or does not answer within
            about 15 s.
    """
    if isinstance(folder, LocalFolder):
        folder.refuse_file_in_its_place()
    try:
        impatient(folder, attempts=2).entries()
    except OSError as error:
        raise BadInput(str(error)) from error


def impatient(folder: Folder, attempts: int = 1) -> Folder:
    """The same folder, which does not wait for a bucket that is away: for whoever has something else to tell or do."""
    if not isinstance(folder, BucketFolder):
        return folder
    options = replace(folder.options, attempts=attempts, read_timeout_s=5, patience_s=0)
    return replace(folder, options=options)
