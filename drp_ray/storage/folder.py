"""A folder on a disk or in a bucket, with the same few verbs for both.

Every write is atomic: a reader sees the old content or the new, never a part of it. `create` and `swap` are the
conditional writes that leases need. Policy (what is a part, what is done) stands elsewhere.
"""

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from drp_ray.errors import BadInput

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Entry:
    """A file of a folder: its name, its size in bytes and, where the store keeps one, a tag of its content."""

    name: str
    size: int
    tag: str | None = None


@dataclass(frozen=True)
class S3Options:
    """How to reach S3. What is None comes from boto3's own chain (profile, instance role) on each machine.

    A request is sent `attempts` times at most, and its answer waited for `answer_within_s` each time.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    attempts: int = 5
    answer_within_s: float = 60

    def __repr__(self) -> str:
        return f"S3Options(endpoint_url={self.endpoint_url!r}, region={self.region!r})"


class Folder(Protocol):
    """A folder. Names may hold `/`; a missing file raises FileNotFoundError."""

    @property
    def uri(self) -> str:
        """The absolute path or `s3://` address of this folder."""

    def at(self, *names: str) -> "Folder":
        """The folder further down; it need not exist."""

    def entries(self) -> list[Entry]:
        """The files directly in this folder, by name; none where the folder does not exist."""

    def content_tag(self, entry: Entry) -> str:
        """A short text that changes with the file's content."""

    def read(self, name: str) -> bytes:
        """The whole content of a file."""

    def open(self, name: str) -> pa.NativeFile:
        """A file to read parts of."""

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, atomically and durably."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where there is none; False where there is one."""

    def swap(self, name: str, was: bytes, data: bytes) -> bool:
        """Replace a file only while its content is `was`; False where it is not."""

    def delete(self, name: str) -> None:
        """Remove a file; fine where there is none."""


def open_folder(location: str, s3: S3Options) -> Folder:
    """Open a local path or an `s3://bucket/prefix` address; nothing is touched yet.

    Raises:
        BadInput: the location has another scheme or names no bucket.
    """
    if "://" not in location:
        return LocalFolder(Path(location).absolute())
    scheme, _, rest = location.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise BadInput(f"{location}: use a local path or s3://BUCKET/PREFIX")
    return BucketFolder(bucket, prefix.strip("/"), s3)


@dataclass(frozen=True)
class LocalFolder:
    """A folder of a file system."""

    path: Path

    @property
    def uri(self) -> str:
        """The absolute path."""
        return str(self.path)

    def at(self, *names: str) -> "LocalFolder":
        """The folder further down."""
        return LocalFolder(self.path.joinpath(*names))

    def entries(self) -> list[Entry]:
        """The files directly in this folder; temporary files of writers are not files yet."""
        if not self.path.is_dir():
            return []
        found = []
        for path in sorted(self.path.iterdir()):
            if path.name.startswith("."):
                continue
            with suppress(FileNotFoundError):  # deleted since it was listed
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    found.append(Entry(path.name, status.st_size))
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
        """Write beside the target, sync, rename, and sync the folder's entry."""
        with self._written_aside(name, data) as temporary:
            Path(temporary).replace(self.path / name)
        _sync_folder((self.path / name).parent)

    def create(self, name: str, data: bytes) -> bool:
        """Link the written file under its name, which fails where the name is taken."""
        with self._written_aside(name, data) as temporary:
            try:
                os.link(temporary, self.path / name)
            except FileExistsError:
                return False
        _sync_folder((self.path / name).parent)
        return True

    def swap(self, name: str, was: bytes, data: bytes) -> bool:
        """Compare and replace under a lock on the folder, which all writers of conditional files take."""
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

    @contextmanager
    def _written_aside(self, name: str, data: bytes) -> Iterator[str]:
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except OSError as error:
            raise BadInput(f"{self.path}: cannot write here ({error.strerror})") from error
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
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


@dataclass(frozen=True)
class BucketFolder:
    """A prefix of an S3 bucket."""

    bucket: str
    prefix: str
    options: S3Options

    @property
    def uri(self) -> str:
        """The `s3://` address."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def at(self, *names: str) -> "BucketFolder":
        """The prefix further down."""
        return BucketFolder(self.bucket, "/".join([*([self.prefix] if self.prefix else []), *names]), self.options)

    def entries(self) -> list[Entry]:
        """The objects directly under this prefix."""
        under = f"{self.prefix}/" if self.prefix else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=under, Delimiter="/")
        with self._explained():
            return [
                Entry(item["Key"][len(under) :], item["Size"], item["ETag"].strip('"'))
                for page in pages
                for item in page.get("Contents", [])
                if item["Key"] != under
            ]

    def content_tag(self, entry: Entry) -> str:
        """The ETag that S3 keeps, which is a digest of the content as it was uploaded."""
        return f"{entry.tag}-{entry.size}"

    def read(self, name: str) -> bytes:
        """The whole content of an object."""
        with self._explained(name):
            return self._client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read()

    def open(self, name: str) -> pa.NativeFile:
        """An object to read ranges of."""
        with self._explained(name):
            return self._arrow.open_input_file(f"{self.bucket}/{self._key(name)}")

    def write(self, name: str, data: bytes) -> None:
        """One PUT, which S3 makes visible whole or not at all."""
        with self._explained(name):
            self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data)

    def create(self, name: str, data: bytes) -> bool:
        """A PUT that S3 refuses where the key exists."""
        return self._put_if(name, data, IfNoneMatch="*")

    def swap(self, name: str, was: bytes, data: bytes) -> bool:
        """A PUT that S3 refuses unless the object is still the one that held `was`."""
        try:
            with self._explained(name):
                current = self._client.get_object(Bucket=self.bucket, Key=self._key(name))
                if current["Body"].read() != was:
                    return False
        except FileNotFoundError:
            return False
        return self._put_if(name, data, IfMatch=current["ETag"])

    def delete(self, name: str) -> None:
        """Remove an object."""
        with self._explained(name):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _put_if(self, name: str, data: bytes, **condition: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            with self._explained(name):
                self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data, **condition)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise
        except FileNotFoundError:  # deleted since it was read
            return False
        return True

    @cached_property
    def _client(self) -> "S3Client":
        return _s3_client(self.options)

    @cached_property
    def _arrow(self) -> Any:
        from pyarrow.fs import S3FileSystem

        options = self.options
        return S3FileSystem(
            access_key=options.access_key,
            secret_key=options.secret_key,
            session_token=options.session_token,
            region=options.region,
            endpoint_override=options.endpoint_url,
            connect_timeout=5,
            request_timeout=60,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the clients behind: they hold sockets."""
        return {"bucket": self.bucket, "prefix": self.prefix, "options": self.options}

    @contextmanager
    def _explained(self, name: str = "") -> Iterator[None]:
        """Turn what S3 answers into what the caller can act on."""
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"{self.uri}/{name}" if name else self.uri
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchKey", "404") and name:
                raise FileNotFoundError(where) from error
            if code in ("NoSuchBucket", "404"):
                raise BadInput(f"{where}: there is no bucket {self.bucket!r}") from error
            if code in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
                message = error.response["Error"].get("Message", "")
                raise BadInput(f"{where}: S3 refused with {code}: {message}") from error
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise StorageUnreachable(f"{where}: {error}") from error
            raise
        except BotoCoreError as error:
            raise StorageUnreachable(f"{where}: {error}") from error


class StorageUnreachable(OSError):
    """The object store did not answer, however often it was asked."""


_clients: dict[S3Options, "S3Client"] = {}


def _s3_client(options: S3Options) -> "S3Client":
    """One client a process: making one costs tens of milliseconds, and it is safe to share."""
    if options not in _clients:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=4,
            read_timeout=options.answer_within_s,
            retries={"mode": "standard", "total_max_attempts": options.attempts},
            max_pool_connections=32,
        )
        try:
            _clients[options] = boto3.session.Session().client(
                "s3",
                endpoint_url=options.endpoint_url,
                region_name=options.region,
                aws_access_key_id=options.access_key,
                aws_secret_access_key=options.secret_key,
                aws_session_token=options.session_token,
                config=config,
            )
        except ValueError as error:
            raise BadInput(f"the address of the S3 service cannot be used: {error}") from error
    return _clients[options]


def check_reachable(folder: Folder) -> None:
    """Ask once whether a folder can be listed, before anything depends on it.

    Raises:
        BadInput: the bucket does not exist, refuses, or does not answer within about 15 s.
    """
    if isinstance(folder, BucketFolder):
        folder = replace(folder, options=replace(folder.options, attempts=2, answer_within_s=5))
    try:
        folder.entries()
    except OSError as error:
        raise BadInput(str(error)) from error
