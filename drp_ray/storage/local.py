"""A folder of a file system. Files appear by a rename or a link, so that they are whole at once."""

import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from drp_ray.errors import BadInput, CannotWrite, JobFailed
from drp_ray.storage.entry import Entry

TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")
"""The names that `tempfile` makes for us."""

LEASES = "lease.json"
"""Any job may be writing a file of this name, whoever holds the lease."""

OLD_S = 60.0
"""A file that nobody has written to for so long has no writer any more."""

FULL = (errno.ENOSPC, errno.EDQUOT)

WITHOUT_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""What `link` says where a file system has none."""


class DiskFailed(JobFailed, OSError):
    """A write that failed half-way: a full disk, most often. What was there before is still there."""


_content_tags: dict[tuple[str, int, int, int, int], str] = {}


@dataclass(frozen=True)
class LocalFolder:
    """A folder of a file system."""

    path: Path

    @property
    def uri(self) -> str:
        """The absolute path."""
        return str(self.path)

    def at(self, *names: str) -> "LocalFolder":
        """A folder below this one."""
        return LocalFolder(self.path.joinpath(*names))

    def entries(self) -> list[Entry]:
        """The files directly in this folder, without the temporary files of writers (their names begin with a dot)."""
        if not self.path.is_dir():
            return []
        found = []
        for path in sorted(self.path.iterdir()):
            if path.name.startswith("."):
                continue
            with suppress(FileNotFoundError):  # deleted since it was listed
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    found.append(Entry(path.name, status.st_size, written_s=status.st_mtime))
        return found

    def folders(self) -> list[str]:
        """The folders directly in this one."""
        return sorted(path.name for path in self.path.iterdir() if path.is_dir()) if self.path.is_dir() else []

    def refuse_file_in_its_place(self) -> None:
        """See that this is a folder, or can become one.

        Raises:
            BadInput: a file is here, or where a folder above is to be.
        """
        try:
            for path in (self.path, *self.path.parents):
                if path.exists():
                    if not path.is_dir():
                        raise BadInput(f"{path}: this is a file, where a folder is needed; give another place")
                    return
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read ({error.strerror})") from error

    def content_tag(self, entry: Entry) -> str:
        """The SHA-256 of the file, which is computed again once its times, its size or its place on the disk differ."""
        path = self.path / entry.name
        status = path.stat()
        key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key not in _content_tags:
            with path.open("rb") as file:
                _content_tags[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return _content_tags[key]

    def read(self, name: str) -> bytes:
        """The whole content of a file."""
        return (self.path / name).read_bytes()

    def open(self, name: str) -> pa.NativeFile:
        """A memory map of a file."""
        return pa.memory_map(str(self.path / name))

    def write(self, name: str, data: bytes) -> None:
        """Write a temporary file, sync it, rename it, and sync the folder."""
        with self._temporary_file(name, data) as temporary:
            Path(temporary).replace(self.path / name)
        _sync_folder((self.path / name).parent)

    def write_file(self, name: str, source: Path) -> None:
        """Copy to a temporary file, sync it, rename it, and sync the folder."""
        with source.open("rb") as content, self._temporary_copy(name, content) as temporary:
            Path(temporary).replace(self.path / name)
        _sync_folder((self.path / name).parent)

    def create(self, name: str, data: bytes) -> bool:
        """Link a temporary file under the name, which fails where the name exists.

        On file systems without links, as those that show a bucket as a folder, a file is opened that must not be there:
        for a moment others may see it without its content.
        """
        with self._temporary_file(name, data) as temporary:
            try:
                os.link(temporary, self.path / name)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in WITHOUT_LINKS:
                    raise
                return self._create_in_place(name, data)
        _sync_folder((self.path / name).parent)
        return True

    def _create_in_place(self, name: str, data: bytes) -> bool:
        try:
            file = (self.path / name).open("xb")
        except FileExistsError:
            return False
        try:
            with self._disk_failures_told(name), file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except DiskFailed:
            self.delete(name)
            raise
        return True

    def swap(self, name: str, was: bytes, data: bytes) -> bool:
        """Compare and replace under a lock on the folder, which every `swap` takes."""
        with self._locked():
            try:
                if self.read(name) != was:
                    return False
            except FileNotFoundError:
                return False
            self.write(name, data)
            return True

    def delete(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink(missing_ok=True)

    def delete_temporary_files(self, older_than_s: float = 0) -> None:
        """Remove what killed writers left in this folder and below; those of leases only after some time."""
        now = time.time()
        for path in self.path.rglob(".*"):
            age_s = OLD_S if path.name.startswith(f".{LEASES}") else older_than_s
            with suppress(FileNotFoundError):  # renamed by its writer meanwhile
                if TEMPORARY.fullmatch(path.name) and path.is_file() and now - path.stat().st_mtime >= age_s:
                    path.unlink()

    def _temporary_file(self, name: str, data: bytes) -> AbstractContextManager[str]:
        return self._temporary_copy(name, io.BytesIO(data))

    @contextmanager
    def _temporary_copy(self, name: str, content: IO[bytes]) -> Iterator[str]:
        """A synced file with the content beside the file `name`; it is removed at the end if it is still there."""
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except OSError as error:
            if error.errno in FULL:
                raise DiskFailed(f"{self.path}: {error.strerror}: make room; the same command continues") from error
            raise CannotWrite(f"{self.path}: cannot write here ({error.strerror})") from error
        try:
            with self._disk_failures_told(name), os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                shutil.copyfileobj(content, file)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            Path(temporary).unlink(missing_ok=True)

    @contextmanager
    def _disk_failures_told(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            todo = "make room" if error.errno in FULL else "look after the disk"
            raise DiskFailed(f"{self.path / name}: {error.strerror}: {todo}; the same command continues") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
