"""A folder of a file system. Files appear by a rename or a link, so that they are whole at once."""

import fcntl
import hashlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from drp_ray.errors import BadInput
from drp_ray.storage.entry import Entry


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

    def content_tag(self, entry: Entry) -> str:
        """The SHA-256 of the file."""
        with (self.path / entry.name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

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
        """Link a temporary file under the name, which fails where the name exists."""
        with self._temporary_file(name, data) as temporary:
            try:
                os.link(temporary, self.path / name)
            except FileExistsError:
                return False
        _sync_folder((self.path / name).parent)
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
            raise BadInput(f"{self.path}: cannot write here ({error.strerror})") from error
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                shutil.copyfileobj(content, file)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            Path(temporary).unlink(missing_ok=True)

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
