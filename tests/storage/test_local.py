"""A folder of a file system stays whole: killed writers, failing writes, files that vanish."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from drp_ray.errors import BadInput, JobFailed
from drp_ray.storage.folder import S3Options, open_folder
from drp_ray.storage.lease import Lease, LeaseHeld, lease

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
    with pytest.raises(JobFailed, match="No space left"):
        folder.write("file", b"new")
    assert folder.read("file") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "fdopen"])
def test_a_full_disk_is_told_with_the_path_and_what_to_do(tmp_path, monkeypatch, call):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(JobFailed) as raised:
        open_folder(str(tmp_path), S3Options()).write("file", b"new")
    assert str(raised.value).startswith(f"{tmp_path}/file: No space left on device: make room")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("says", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_where_a_file_system_has_no_links_one_create_wins_and_a_lease_is_held(tmp_path, monkeypatch, says):
    def no_links(*_):
        raise OSError(says, os.strerror(says))

    monkeypatch.setattr(os, "link", no_links)
    folder = open_folder(str(tmp_path), S3Options())
    with ThreadPoolExecutor() as threads:
        won = list(threads.map(lambda number: folder.create("file", b"%d" % number), range(8)))
    assert sum(won) == 1 and folder.read("file") == b"%d" % won.index(True)
    with lease(folder, ttl_s=0.9) as held, pytest.raises(LeaseHeld):
        held.check()
        Lease(folder, ttl_s=0.3).acquire()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_create_that_fails_half_way_leaves_nothing_also_without_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "not permitted")

    folder, syncs = open_folder(str(tmp_path), S3Options()), iter([None, OSError(28, "No space left on device")])

    def second_fails(_handle):
        if (failure := next(syncs)) is not None:
            raise failure

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(JobFailed, match="No space left"):
        folder.create("file", b"new")
    assert list(tmp_path.iterdir()) == []
