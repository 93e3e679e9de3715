"""A folder that is a prefix of an S3 bucket, and how S3 is reached.

boto3, botocore and pyarrow's S3 are imported where they are used, since jobs without a bucket do not need them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from drp_ray.errors import BadInput
from drp_ray.storage.entry import Entry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class S3Options:
    """How to reach S3. Where a value is None, boto3 looks for it on each machine (profile, instance role).

    A request is sent at most `attempts` times, and each time boto3 waits `read_timeout_s` for the answer.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    attempts: int = 5
    read_timeout_s: float = 60

    def __repr__(self) -> str:
        return f"S3Options(endpoint_url={self.endpoint_url!r}, region={self.region!r})"


class StorageUnreachable(OSError):
    """The object store did not answer, after all attempts."""


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
        under = f"{self.prefix}/" if self.prefix else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=under, Delimiter="/")
        with self._errors_translated():
            return [
                Entry(
                    item["Key"][len(under) :], item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp()
                )
                for page in pages
                for item in page.get("Contents", [])
                if item["Key"] != under
            ]

    def content_tag(self, entry: Entry) -> str:
        """S3's ETag, a digest of the content as it was uploaded, and the size."""
        return f"{entry.tag}-{entry.size}"

    def read(self, name: str) -> bytes:
        """The whole content of an object."""
        with self._errors_translated(name):
            return self._client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read()

    def open(self, name: str) -> pa.NativeFile:
        """An object of which ranges can be read."""
        with self._errors_translated(name):
            return self._arrow.open_input_file(f"{self.bucket}/{self._key(name)}")

    def write(self, name: str, data: bytes) -> None:
        """One PUT, which S3 makes visible whole or not at all."""
        with self._errors_translated(name):
            self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data)

    def write_file(self, name: str, source: Path) -> None:
        """Upload a local file, a large one in pieces; S3 makes it visible whole or not at all."""
        with self._errors_translated(name), source.open("rb") as content:
            self._client.upload_fileobj(content, self.bucket, self._key(name))

    def create(self, name: str, data: bytes) -> bool:
        """A PUT that S3 refuses where the key exists."""
        return self._put_if(name, data, IfNoneMatch="*")

    def swap(self, name: str, was: bytes, data: bytes) -> bool:
        """A PUT that S3 refuses unless the object is still the one that held `was`."""
        try:
            with self._errors_translated(name):
                current = self._client.get_object(Bucket=self.bucket, Key=self._key(name))
                if current["Body"].read() != was:
                    return False
        except FileNotFoundError:
            return False
        return self._put_if(name, data, IfMatch=current["ETag"])

    def delete(self, name: str) -> None:
        """Remove an object."""
        with self._errors_translated(name):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _put_if(self, name: str, data: bytes, **condition: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            with self._errors_translated(name):
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
    def _errors_translated(self, name: str = "") -> Iterator[None]:
        """Raise what callers of a folder expect (FileNotFoundError, BadInput, StorageUnreachable) for S3's errors."""
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
