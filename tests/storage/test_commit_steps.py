"""SIGKILL at each step of a commit: the part is absent or whole, what stood there before stays, and nothing is left."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest

from drp_ray.storage.folder import LocalFolder, S3Options, open_folder
from drp_ray.storage.lease import lease
from drp_ray.storage.parts import commit_part, is_sound, part_name, read_committed, read_part

COMMIT = """
import json, os, signal, sys, tempfile
from pathlib import Path

import pyarrow as pa

from drp_ray.storage.bucket import BucketFolder
from drp_ray.storage.folder import S3Options, open_folder
from drp_ray.storage.parts import commit_part, part_name

place, options, step, number = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(call):
    return lambda *arguments, **named: (call(*arguments, **named), die())

folder = open_folder(place, S3Options(**options))
if step == "before the temporary file":
    tempfile.mkstemp = die
elif step == "within the temporary file":
    os.fsync = die
elif step == "before the rename":
    Path.replace = die
elif step == "after the rename":
    Path.replace = dies_after(Path.replace)
elif step == "before the PUT":
    BucketFolder.write = die
elif step == "after the PUT":
    folder._client.put_object = dies_after(folder._client.put_object)
commit_part(folder, part_name(0), pa.table({"n": [number] * 1000}), {}, "in")
"""
ON_DISK = {
    "before the temporary file": 1,
    "within the temporary file": 1,
    "before the rename": 1,
    "after the rename": 2,
}
IN_A_BUCKET = {"before the PUT": 1, "after the PUT": 2}


def commit_and_die(folder, step: str, number: int) -> None:
    options = asdict(getattr(folder, "options", S3Options()))
    command = [sys.executable, "-c", COMMIT, folder.uri, json.dumps(options), step, str(number)]
    assert subprocess.run(command, check=False, env={**os.environ}).returncode == -signal.SIGKILL


def check(folder, step: str, holds: int) -> None:
    """A second commit over a first one is killed: which of the two is there, whole; and a third one succeeds."""
    commit_part(folder, part_name(0), pa.table({"n": [1] * 1000}), {}, "in")
    commit_and_die(folder, step, 2)
    assert [entry.name for entry in folder.entries()] == [part_name(0)]
    assert is_sound(folder, part_name(0)) and list(read_committed(folder, [part_name(0)])) == [part_name(0)]
    assert set(read_part(folder, part_name(0)).rows["n"].to_pylist()) == {holds}
    with lease(folder, 3):
        commit_part(folder, part_name(0), pa.table({"n": [3]}), {}, "in")
    assert read_part(folder, part_name(0)).rows["n"].to_pylist() == [3]


@pytest.mark.parametrize("step", ON_DISK)
def test_a_commit_on_a_disk_that_is_killed_is_whole_or_not_there(tmp_path, step):
    check(LocalFolder(tmp_path / "stage"), step, ON_DISK[step])
    assert [path.name for path in Path(tmp_path / "stage").iterdir()] == [part_name(0)], "something was left"


@pytest.mark.parametrize("step", IN_A_BUCKET)
def test_a_commit_in_a_bucket_that_is_killed_is_whole_or_not_there(s3_server, bucket, step):
    check(open_folder(f"s3://{bucket}/stage", s3_server.options), step, IN_A_BUCKET[step])
