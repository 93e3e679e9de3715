"""A folder that is a prefix of an S3 bucket, and how S3 is reached.

What S3 does not answer, or answers with an error of its own or half a body, is asked again for `patience_s`: so a job
waits for a bucket that is away for some minutes. boto3 and botocore are imported where they are used, since jobs
without a bucket do not need them.
"""

import io
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from drp_ray.errors import BadInput, CannotWrite, JobFailed
from drp_ray.storage.entry import Entry

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

T = TypeVar("T")

LONGEST_WAIT_S = 15.0
"""Between two tries of a request while a bucket is away."""

TAIL_BYTES = 2**17
"""What is fetched of an object when it is opened: the end, where Parquet has its footer; small objects are whole."""

BLOCK_BYTES = 2**20
"""What is fetched at once of an object that is read from one end to the other."""

PASSING_CODES = (
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "IncompleteBody",
    "OperationAborted",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
)
"""Refusals that say something of the moment. Those with status 429, and 500 and more, pass as well."""

REFUSALS_OF_CONDITIONS = ("PreconditionFailed", "ConditionalRequestConflict")


@dataclass(frozen=True)
class S3Options:
    """How to reach S3. Where a value is None, boto3 looks for it on each machine (profile, instance role).

    A request is sent at most `attempts` times in a row, and each time boto3 waits `read_timeout_s` for the answer.
    Where none of them was answered properly, that is done again until `patience_s` have passed.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    attempts: int = 5
    read_timeout_s: float = 60
    patience_s: float = 300

    def __repr__(self) -> str:
        return f"S3Options(endpoint_url={self.endpoint_url!r}, region={self.region!r})"


class StorageUnreachable(JobFailed, OSError):
    """The object store did not answer properly, after all attempts."""


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
        """A prefix below this one."""
        return BucketFolder(self.bucket, "/".join([self.prefix, *names] if self.prefix else names), self.options)

    def entries(self) -> list[Entry]:
        """The objects directly under this prefix."""
        return [
            Entry(
                item["Key"][len(self._under) :], item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp()
            )
            for page in self._pages()
            for item in page.get("Contents", [])
            if item["Key"] != self._under
        ]

    def folders(self) -> list[str]:
        """What stands before the next `/` in the keys under this prefix."""
        found = [item["Prefix"] for page in self._pages() for item in page.get("CommonPrefixes", [])]
        return [prefix[len(self._under) : -1] for prefix in found]

    @property
    def _under(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _pages(self) -> "list[ListObjectsV2OutputTypeDef]":
        paginator = self._client.get_paginator("list_objects_v2")
        return self._patiently(lambda: list(paginator.paginate(Bucket=self.bucket, Prefix=self._under, Delimiter="/")))

    def content_tag(self, entry: Entry) -> str:
        """S3's ETag, a digest of the content as it was uploaded, and the size."""
        return f"{entry.tag}-{entry.size}"

    def read(self, name: str) -> bytes:
        """The whole content of an object."""
        return self._fetch(name).data

    def open(self, name: str) -> pa.NativeFile:
        """An object of which ranges can be read."""
        return pa.PythonFile(_OpenObject(self, name), mode="r")

    def fetch_tail(self, name: str) -> "Fetched":
        """The last bytes of an object."""
        from botocore.exceptions import ClientError

        try:
            return self._fetch(name, Range=f"bytes=-{TAIL_BYTES}")
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidRange":  # an empty object has no last bytes
                raise
            return self._fetch(name)

    def fetch_range(self, name: str, start: int, size: int, tag: str) -> bytes:
        """A range of an object that still has the same tag.

        Raises:
            StorageUnreachable: it was replaced since it was opened.
        """
        from botocore.exceptions import ClientError

        try:
            return self._fetch(name, Range=f"bytes={start}-{start + size - 1}", IfMatch=tag).data
        except ClientError as error:
            raise StorageUnreachable(f"{self.uri}/{name}: it was replaced while it was read ({error})") from error

    def _fetch(self, name: str, **how: str) -> "Fetched":
        def get() -> Fetched:
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(name), **how)  # type: ignore[arg-type]
            data = answer["Body"].read()
            whole = answer.get("ContentRange", "").rpartition("/")[2]
            return Fetched(data, answer["ETag"], int(whole) if whole else len(data))

        return self._patiently(get, name)

    def write(self, name: str, data: bytes) -> None:
        """One PUT, which S3 makes visible whole or not at all."""
        with self._refusal_to_write_told():
            self._patiently(lambda: self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data), name)

    def write_file(self, name: str, source: Path) -> None:
        """Upload a local file, a large one in pieces; S3 makes it visible whole or not at all."""

        def upload() -> None:
            with source.open("rb") as content:
                self._client.upload_fileobj(content, self.bucket, self._key(name))

        with self._refusal_to_write_told():
            self._patiently(upload, name)

    def create(self, name: str, data: bytes) -> bool:
        """A PUT that S3 refuses where the key exists."""
        return self._put_if(name, data, IfNoneMatch="*")

    def swap(self, name: str, was: bytes, data: bytes) -> bool:
        """A PUT that S3 refuses unless the object is still the one that held `was`."""
        try:
            current = self._fetch(name)
        except FileNotFoundError:
            return False
        if current.data != was:
            return False
        return self._put_if(name, data, IfMatch=current.tag)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._patiently(lambda: self._client.delete_object(Bucket=self.bucket, Key=self._key(name)), name)

    def delete_temporary_files(self, older_than_s: float = 0) -> None:
        """There are none: what is not written whole is not written."""

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _put_if(self, name: str, data: bytes, **condition: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._patiently(
                lambda: self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data, **condition),  # type: ignore[arg-type]
                name,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in REFUSALS_OF_CONDITIONS:
                return False
            raise
        except FileNotFoundError:  # deleted since it was read
            return False
        return True

    @cached_property
    def _client(self) -> "S3Client":
        return _s3_client(self.options)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the clients behind: they hold sockets."""
        return {"bucket": self.bucket, "prefix": self.prefix, "options": self.options}

    @contextmanager
    def _refusal_to_write_told(self) -> Iterator[None]:
        try:
            yield
        except BadInput as error:
            raise CannotWrite(str(error)) from error

    def _patiently(self, ask: Callable[[], T], name: str = "") -> T:
        """Do what asks S3, again while that is not answered properly, until `patience_s` have passed.

        Raises:
            FileNotFoundError, BadInput, StorageUnreachable: as callers of a folder expect.
            ClientError: a condition of the request was not met, or a range is not there.
        """
        give_up, wait_s = time.monotonic() + self.options.patience_s, 0.2
        while True:
            try:
                with self._errors_translated(name):
                    return ask()
            except StorageUnreachable:
                if time.monotonic() + wait_s > give_up:
                    raise
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    @contextmanager
    def _errors_translated(self, name: str) -> Iterator[None]:
        """Raise our own errors, or FileNotFoundError, for those of boto3."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        where = f"{self.uri}/{name}" if name else self.uri
        try:
            yield
        except S3UploadFailedError as error:
            cause = error.__context__
            raise (self._told(cause, where, name) if isinstance(cause, ClientError) else None) or StorageUnreachable(
                f"{where}: {error}"
            ) from error
        except ClientError as error:
            told = self._told(error, where, name)
            if told is None:
                raise
            raise told from error
        # boto3 lets urllib3's errors through where a body breaks off.
        except (BotoCoreError, HTTPError, ConnectionError, TimeoutError) as error:
            kind = BadInput if type(error).__name__ in BOTOS_BAD_INPUT else StorageUnreachable
            raise kind(f"{where}: {error}") from error

    def _told(self, error: "ClientError", where: str, name: str) -> Exception | None:
        """What a refusal of S3 means to the caller; None for one that the caller asked for."""
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in ("NoSuchKey", "404") and name:
            return FileNotFoundError(where)
        if code in ("NoSuchBucket", "404"):
            return BadInput(f"{where}: there is no bucket {self.bucket!r}")
        if code in (*REFUSALS_OF_CONDITIONS, "InvalidRange"):
            return None
        if code in PASSING_CODES or status == 429 or status >= 500:
            return StorageUnreachable(f"{where}: {error}")
        return BadInput(f"{where}: S3 refused with {code}: {error.response['Error'].get('Message', '')}")


BOTOS_BAD_INPUT = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "NoRegionError",
    "ParamValidationError",
    "InvalidRegionError",
)
"""What boto3 finds wrong before it asks anybody, by name since botocore is not imported here."""


@dataclass(frozen=True)
class Fetched:
    """Bytes of an object, the object's tag, and how large it is."""

    data: bytes
    tag: str
    size: int


class _OpenObject(io.RawIOBase):
    """An object that is fetched by ranges. What was fetched last is kept, at first the end."""

    def __init__(self, folder: BucketFolder, name: str) -> None:
        self._folder, self._name = folder, name
        tail = folder.fetch_tail(name)
        self._tag, self._size = tail.tag, tail.size
        self._start, self._data = tail.size - len(tail.data), tail.data
        self._place = 0

    def readable(self) -> bool:
        """See `RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `RawIOBase`."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `RawIOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def read(self, size: int = -1) -> bytes:
        """See `RawIOBase`; all that was asked for comes at once."""
        left = max(self._size - self._place, 0)
        size = left if size is None or size < 0 else min(size, left)
        offset = self._place - self._start
        if size and not 0 <= offset <= offset + size <= len(self._data):
            self._fetch(size)
            offset = 0
        self._place += size
        return self._data[offset : offset + size]

    def _fetch(self, size: int) -> None:
        is_next = self._place == self._start + len(self._data)
        wanted = min(max(size, BLOCK_BYTES if is_next else 0), self._size - self._place)
        self._data = self._folder.fetch_range(self._name, self._place, wanted, self._tag)
        self._start = self._place


_clients: dict[S3Options, "S3Client"] = {}


def _s3_client(options: S3Options) -> "S3Client":
    """The client of this process for these options: making one takes tens of milliseconds, and threads may share it."""
    if options not in _clients:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=4,
            read_timeout=options.read_timeout_s,
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
