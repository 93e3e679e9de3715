"""A prefix of a bucket, and what an S3 service in trouble means to the caller."""

import socket
import threading
import time
from dataclasses import replace

import pytest

from drp_ray.errors import BadInput
from drp_ray.storage.folder import BucketFolder, S3Options, StorageUnreachable, check_reachable, open_folder


def test_an_object_deleted_within_a_swap_is_not_swapped(s3_server, bucket):
    folder = open_folder(f"s3://{bucket}", s3_server.options)
    folder.write("file", b"old")

    class DeletedOnceCompared(bytes):
        def __ne__(self, other):
            folder.delete("file")
            return bytes(self) != bytes(other)

    assert not folder.swap("file", DeletedOnceCompared(b"old"), b"new")
    assert folder.entries() == []


def test_a_whole_bucket_is_a_folder(s3_server, bucket):
    folder = open_folder(f"s3://{bucket}", s3_server.options)
    folder.write("file", b"x")
    folder.at("below").write("other", b"y")
    assert folder.uri == f"s3://{bucket}"
    assert [entry.name for entry in folder.entries()] == ["file"]
    assert folder.at("below").read("other") == b"y"


def test_keys_are_not_shown():
    shown = repr(S3Options("http://s3", "here", access_key="AK", secret_key="SK", session_token="ST"))
    assert not any(secret in shown for secret in ("AK", "SK", "ST"))


def test_a_missing_bucket_is_bad_input(s3_server):
    folder = open_folder("s3://no-such-bucket/x", s3_server.options)
    for action in (lambda: check_reachable(folder), lambda: folder.write("file", b"")):
        with pytest.raises(BadInput, match="there is no bucket 'no-such-bucket'"):
            action()


def test_refused_credentials_are_bad_input_with_the_bucket_named():
    with answering(b"<Error><Code>AccessDenied</Code><Message>not you</Message></Error>", status=403) as url:
        folder = open_folder("s3://somebody-elses/x", on(url))
        with pytest.raises(BadInput, match="s3://somebody-elses/x: S3 refused with AccessDenied: not you"):
            check_reachable(folder)


def test_a_service_in_trouble_is_unreachable():
    with answering(b"<Error><Code>InternalError</Code><Message>oh</Message></Error>", status=500) as url:
        folder = open_folder("s3://bucket/x", replace(on(url), attempts=1, patience_s=0))
        with pytest.raises(StorageUnreachable, match="s3://bucket/x/file"):
            folder.read("file")
        with pytest.raises(BadInput, match="s3://bucket/x"):
            check_reachable(folder)


def test_an_endpoint_that_refuses_connections_is_bad_input_soon():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    expect_bad_input_within_30_s(f"http://127.0.0.1:{port}")


def test_an_endpoint_that_never_answers_is_bad_input_soon():
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        expect_bad_input_within_30_s(f"http://127.0.0.1:{silent.getsockname()[1]}")


def expect_bad_input_within_30_s(url):
    began = time.monotonic()
    with pytest.raises(BadInput, match="s3://far-away/x"):
        check_reachable(open_folder("s3://far-away/x", on(url)))
    assert time.monotonic() - began < 30


def test_an_endpoint_without_a_scheme_is_bad_input():
    with pytest.raises(BadInput, match="localhost:9000"):
        check_reachable(open_folder("s3://bucket/x", on("localhost:9000")))


def test_a_bucket_needs_no_connection_to_be_named():
    folder = open_folder("s3://bucket/a//b/", on("http://127.0.0.1:1"))
    assert isinstance(folder, BucketFolder)
    assert folder.at("c", "d").uri == "s3://bucket/a//b/c/d"


def on(url):
    return S3Options(url, "us-east-1", access_key="test", secret_key="test")


class answering:
    """A server that gives every request the same answer."""

    def __init__(self, body, status):
        self._reply = b"HTTP/1.0 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
        self._server = socket.create_server(("127.0.0.1", 0))

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __exit__(self, *_):
        self._server.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._reply)
