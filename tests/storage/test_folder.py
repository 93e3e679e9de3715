"""A folder on a disk and a prefix of a bucket behave alike; a bucket is on an S3 server over HTTP."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from drp_ray.errors import BadInput
from drp_ray.storage.folder import BucketFolder, S3Options, StorageUnreachable, check_reachable, open_folder

RACERS = 8


def race(action):
    """Run `action(number)` in many threads that start together; what each returned."""
    start = threading.Barrier(RACERS)

    def run(number):
        start.wait()
        return action(number)

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


class TestFolder:
    def test_a_folder_that_does_not_exist_is_empty(self, folder):
        assert folder.entries() == []

    def test_what_was_written_is_read_and_listed(self, folder):
        folder.write("b.txt", b"two")
        folder.write("a.txt", b"")
        folder.at("below").write("c.txt", b"not listed above")
        assert [(entry.name, entry.size) for entry in folder.entries()] == [("a.txt", 0), ("b.txt", 3)]
        assert folder.read("b.txt") == b"two"
        assert folder.at("below").read("c.txt") == b"not listed above"

    def test_a_name_may_lead_further_down(self, folder):
        folder.write("below/c.txt", b"old")
        folder.write("below/c.txt", b"new")
        assert folder.create("below/d.txt", b"d")
        assert folder.read("below/c.txt") == b"new"
        assert [entry.name for entry in folder.at("below").entries()] == ["c.txt", "d.txt"]

    def test_a_prefix_is_not_a_folder(self, folder):
        folder.at("ab").write("file", b"")
        assert folder.at("a").entries() == []

    def test_many_files_are_all_listed_by_name(self, folder):
        names = [f"part-{number:05d}" for number in range(30)]
        for name in reversed(names):
            folder.write(name, b"x")
        assert [entry.name for entry in folder.entries()] == names

    def test_parts_of_a_file_can_be_read(self, folder):
        folder.write("file", b"0123456789")
        with folder.open("file") as file:
            file.seek(3)
            assert file.read(4) == b"3456"

    def test_writing_again_replaces(self, folder):
        folder.write("file", b"a longer content")
        folder.write("file", b"short")
        assert folder.read("file") == b"short"

    @pytest.mark.parametrize("verb", ["read", "open"])
    def test_a_missing_file_is_a_file_not_found_error(self, folder, verb):
        folder.write("other", b"")
        with pytest.raises(FileNotFoundError, match="missing"):
            getattr(folder, verb)("missing")

    def test_a_deleted_file_is_gone_and_deleting_again_is_fine(self, folder):
        folder.write("file", b"x")
        folder.delete("file")
        folder.delete("file")
        assert folder.entries() == []

    def test_create_leaves_a_file_that_is_there(self, folder):
        assert folder.create("file", b"first")
        assert not folder.create("file", b"second")
        assert folder.read("file") == b"first"

    def test_exactly_one_of_many_creates_wins(self, folder):
        won = race(lambda number: folder.create("file", b"%d" % number))
        assert won.count(True) == 1
        assert folder.read("file") == b"%d" % won.index(True)

    def test_swap_replaces_only_what_is_unchanged(self, folder):
        assert not folder.swap("file", b"", b"new")
        folder.write("file", b"old")
        assert not folder.swap("file", b"other", b"new")
        assert folder.read("file") == b"old"
        assert folder.swap("file", b"old", b"new")
        assert folder.read("file") == b"new"

    def test_exactly_one_of_many_swaps_wins(self, folder):
        folder.write("file", b"old")
        won = race(lambda number: folder.swap("file", b"old", b"%d" % number))
        assert won.count(True) == 1
        assert folder.read("file") == b"%d" % won.index(True)

    def test_swaps_that_try_again_lose_no_update(self, folder):
        folder.write("file", b"0")

        def add_one(_):
            while True:
                was = folder.read("file")
                if folder.swap("file", was, b"%d" % (int(was) + 1)):
                    return

        race(add_one)
        assert folder.read("file") == b"%d" % RACERS

    def test_readers_see_the_old_content_or_the_new(self, folder):
        contents = [bytes([65 + number]) * 200_000 for number in range(4)]
        folder.write("file", contents[0])
        written = threading.Event()

        def read():
            seen = []
            while not written.is_set():
                seen.append(folder.read("file"))
                [entry] = folder.entries()
                assert entry.size == len(contents[0])
            return seen

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            try:
                for _ in range(10):
                    for content in contents:
                        folder.write("file", content)
            finally:
                written.set()
            seen = [content for reader in readers for content in reader.result()]
        assert seen
        assert set(seen) <= set(contents)

    def test_listing_while_files_come_and_go_does_not_fail(self, folder):
        stop = threading.Event()

        def come_and_go():
            while not stop.is_set():
                folder.write("file", b"x")
                folder.delete("file")

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(come_and_go)
            try:
                seen = [tuple(entry.name for entry in folder.entries()) for _ in range(100)]
            finally:
                stop.set()
            writer.result()
        assert set(seen) <= {(), ("file",)}

    def test_a_content_tag_changes_with_the_content_and_only_with_it(self, folder):
        def tag():
            [entry] = folder.entries()
            return folder.content_tag(entry)

        folder.write("file", b"one")
        first = tag()
        folder.write("file", b"two")
        assert tag() != first
        folder.write("file", b"one")
        assert tag() == first

    def test_a_folder_travels_to_other_processes(self, folder):
        folder.write("file", b"x")
        copy = pickle.loads(pickle.dumps(folder))
        assert copy == folder
        assert copy.at("..").uri == folder.at("..").uri
        assert copy.read("file") == b"x"
        with copy.open("file") as file:
            assert file.read() == b"x"

    def test_the_address_opens_the_same_folder(self, folder):
        options = getattr(folder, "options", S3Options())
        folder.write("file", b"x")
        assert open_folder(folder.uri, options).read("file") == b"x"
        assert open_folder(f"{folder.uri}/", options) == folder

    def test_a_folder_that_is_there_can_be_reached(self, folder):
        check_reachable(folder)


WRITE_FOREVER = """
import sys
from pathlib import Path
from drp_ray.storage.folder import LocalFolder
folder = LocalFolder(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    folder.write("file", b"new" * 1_000_000)
    folder.write("file", b"old" * 1_000_000)
"""


def test_a_killed_writer_leaves_a_whole_file_and_nothing_else_listed(tmp_path):
    folder = open_folder(str(tmp_path), S3Options())
    leftovers = 0
    for attempt in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOREVER, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ}
        )
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.05 + 0.03 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert folder.read("file") in (b"new" * 1_000_000, b"old" * 1_000_000)
        assert [entry.name for entry in folder.entries()] == ["file"]
        leftovers += len(list(tmp_path.iterdir())) - 1
    assert leftovers, "no writer was killed within a write, so that nothing was shown"


def test_a_write_that_fails_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    folder = open_folder(str(tmp_path), S3Options())
    folder.write("file", b"old")

    def no_space(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        folder.write("file", b"new")
    assert folder.read("file") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput, match="file/below: cannot write here"):
        open_folder(str(tmp_path / "file" / "below"), S3Options()).write("x", b"")


def test_a_file_that_is_gone_when_it_is_looked_at_is_not_listed(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "here").write_bytes(b"x")
    assert [entry.name for entry in open_folder(str(tmp_path), S3Options()).entries()] == ["here"]


def test_written_files_can_be_read_by_others(tmp_path):
    open_folder(str(tmp_path), S3Options()).write("file", b"x")
    assert (tmp_path / "file").stat().st_mode & 0o444 == 0o444


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_folder("here", S3Options()).uri == str(tmp_path / "here")


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


@pytest.mark.parametrize("location", ["gs://bucket/x", "file:///x", "s3://", "s3:///x", "://x"])
def test_another_scheme_or_no_bucket_is_bad_input(location):
    with pytest.raises(BadInput, match=f"{location}: use a local path or s3://BUCKET/PREFIX"):
        open_folder(location, S3Options())


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
        folder = open_folder("s3://bucket/x", replace(on(url), attempts=1))
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


def test_a_path_that_cannot_be_listed_is_bad_input():
    with pytest.raises(BadInput, match="too long"):
        check_reachable(open_folder("/" + "x" * 5000, S3Options()))


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
