"""A bucket in trouble: what passes is waited for, what does not is told in a line, and nothing is written by halves."""

import threading
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from drp_ray.errors import BadInput, JobFailed
from drp_ray.storage.folder import BucketFolder, S3Options, StorageUnreachable, check_reachable, open_folder
from drp_ray.storage.lease import lease
from drp_ray.storage.parts import commit_part, read_footer, read_part, read_rows
from tests.faults.proxy import FaultProxy

ROWS = pa.table({"n": list(range(20_000)), "text": [f"{number * 7919}" for number in range(20_000)]})


@pytest.fixture
def proxy(s3_server):
    with FaultProxy(s3_server.endpoint_url).serving() as proxy:
        yield proxy


@pytest.fixture
def behind(proxy, s3_server, bucket):
    """A folder behind the proxy. boto3 itself tries once, so that what is shown is what this package does."""
    options = replace(s3_server.options, endpoint_url=proxy.url, attempts=1, patience_s=20)
    return open_folder(f"s3://{bucket}/below", options)


@pytest.mark.parametrize("fault", ["cut", "broken", "503", "500", "reset", "skewed"])
def test_what_breaks_off_or_is_refused_for_the_moment_is_asked_again(proxy, behind, fault):
    proxy.faults, proxy.rate = (fault,), 0.4
    committed = commit_part(behind, "part-00000.parquet", ROWS, {}, "in")
    for _ in range(3):
        assert read_part(behind, "part-00000.parquet").rows.equals(ROWS)
        assert read_footer(behind, "part-00000.parquet") == committed
        with behind.open("part-00000.parquet") as file:
            assert pq.read_table(file, columns=["n"])["n"].equals(ROWS["n"])
    assert behind.entries()[0].size == committed.size
    assert proxy.injected[fault] > 2


def test_a_bucket_that_comes_back_is_waited_for(proxy, behind):
    behind.write("file", b"content")
    proxy.is_away = True
    threading.Timer(3, lambda: setattr(proxy, "is_away", False)).start()
    began = time.monotonic()
    assert behind.read("file") == b"content"
    assert time.monotonic() - began > 2.5


def test_a_bucket_that_stays_away_ends_the_job_with_its_address_once_patience_is_over(proxy, behind):
    folder = replace(behind, options=replace(behind.options, patience_s=2))
    proxy.is_away = True
    with pytest.raises(StorageUnreachable, match=folder.uri) as raised:
        folder.read("file")
    assert isinstance(raised.value, JobFailed), "it would be a traceback"
    with pytest.raises(BadInput, match=folder.uri):
        check_reachable(folder)


@pytest.mark.parametrize(
    "error",
    [ProtocolError("Connection broken"), ReadTimeoutError(None, "", "slow"), ConnectionResetError(104, "reset")],
)
def test_connections_that_break_below_boto3_are_asked_again(behind, error):
    answers = iter([error, error, "an answer"])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert behind._patiently(ask, "file") == "an answer"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "TooManyRequests"),
        (429, "Whatever"),
        (400, "IncompleteBody"),
        (409, "OperationAborted"),
        (400, "RequestTimeout"),
        (503, "SlowDown"),
    ],
)
def test_what_a_service_of_s3s_kind_refuses_for_the_moment_is_asked_again(status, code):
    answers = iter([refusal(status, code), refusal(status, code), "an answer"])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert BucketFolder("bucket", "", S3Options(patience_s=20))._patiently(ask, "file") == "an answer"


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (400, "InvalidArgument"), (409, "Whatever")])
def test_what_a_service_of_s3s_kind_refuses_for_good_is_asked_once(status, code):
    answers = iter([refusal(status, code)])

    def ask():
        raise next(answers)

    with pytest.raises(BadInput, match=code):
        BucketFolder("bucket", "", S3Options(patience_s=20))._patiently(ask, "file")


def refusal(status, code):
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


def test_a_refusal_is_told_at_once(proxy, behind):
    proxy.faults = ("403",)
    began = time.monotonic()
    with pytest.raises(BadInput, match="S3 refused with AccessDenied"):
        behind.write("file", b"")
    assert time.monotonic() - began < 5


def test_a_lease_outlives_a_bucket_that_is_away_for_longer_than_its_time_to_live(proxy, behind):
    with lease(behind, 3) as held:
        proxy.is_away = True
        time.sleep(4)
        proxy.is_away = False
        held.check()


def test_conditional_writes_stay_conditional_where_answers_are_lost(proxy, behind):
    behind.write("file", b"old")
    proxy.faults, proxy.methods, proxy.rate = ("reset",), ("PUT",), 0.5
    assert not behind.create("file", b"new")
    assert not behind.swap("file", b"other", b"new")
    assert behind.read("file") == b"old"


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture(behind):
    big = pa.table({"text": [f"{number:0100d}" for number in range(50_000)]})
    with pa.BufferOutputStream() as sink:
        pq.write_table(big, sink, compression="none", use_dictionary=False)
        data = sink.getvalue().to_pybytes()
    behind.write("file", data)
    with behind.open("file") as file:
        behind.write("file", data[:-1] + b"x")
        with pytest.raises(StorageUnreachable, match="replaced while it was read"):
            file.read(10)


@pytest.mark.parametrize("size", [0, 1, 2**17, 2**17 + 1, 3 * 2**20])
def test_any_range_of_an_object_of_any_size_is_what_was_written(behind, size):
    data = bytes(number * 31 % 251 for number in range(size))
    behind.write("file", data)
    with behind.open("file") as file:
        assert file.size() == size
        for start, length in [(0, 10), (size // 2, 100_000), (max(size - 5, 0), 50), (1, 1), (2, 2**20)]:
            file.seek(min(start, size))
            assert file.read(length) == data[start : start + length]
        file.seek(0)
        assert file.read() == data


def test_rows_of_many_parts_are_read_through_faults(proxy, behind):
    from drp_ray.storage.parts import Manifest, part_name, write_manifest

    entries = [commit_part(behind, part_name(number), ROWS, {}, "").entry for number in range(6)]
    write_manifest(behind, Manifest(stage="s", fingerprint="f", made_from={}, inputs={}, parts=entries))
    proxy.faults, proxy.rate = ("cut", "503", "reset"), 0.3
    assert read_rows(behind, ["n"]).num_rows == 6 * ROWS.num_rows
