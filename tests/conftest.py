"""What tests of several modules share."""

import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from drp_ray.storage.folder import S3Options
from tests.real_reviews import music

__all__ = ["music"]

# No test asks the hub of models; what does serves one on this machine.
os.environ["HF_HUB_OFFLINE"] = "1"

# A busy machine is no failure: how long one example takes is not what these tests are about.
settings.register_profile("drp-ray", deadline=None)
settings.load_profile("drp-ray")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language model of a million random parameters."""
    from drp_ray.data.tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def ray_here():
    """A Ray on this machine for all tests that run stages in this process."""
    import ray

    from drp_ray.running.cluster import connect

    with connect(num_cpus=2):
        yield ray


class S3Server(NamedTuple):
    """A running S3 server: its address, and what a client needs to reach it."""

    endpoint_url: str
    options: S3Options


SERVE_S3 = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

app, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

def serve(environ, start_response):  # moto checks a condition and writes in two steps; S3 does both in one
    with one_at_a_time:
        return [b"".join(app(environ, start_response))]

run_simple("127.0.0.1", int(sys.argv[1]), serve, threaded=True)
"""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory):
    """S3 over HTTP, served by another process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "-c", SERVE_S3, str(port)], stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, server, log)
        url = f"http://127.0.0.1:{port}"
        yield S3Server(url, S3Options(url, "us-east-1", access_key="test", secret_key="test"))
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """A new bucket, by name."""
    import boto3

    options = s3_server.options
    client = boto3.client(
        "s3",
        endpoint_url=options.endpoint_url,
        region_name=options.region,
        aws_access_key_id=options.access_key,
        aws_secret_access_key=options.secret_key,
    )
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["local", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path):
    """A folder that does not exist yet, on both kinds of storage."""
    from drp_ray.storage.folder import open_folder

    if request.param == "local":
        return open_folder(str(tmp_path / "a" / "folder"), S3Options())
    server, name = request.getfixturevalue("s3_server"), request.getfixturevalue("bucket")
    return open_folder(f"s3://{name}/a/folder", server.options)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what needs a Ray in this process last: jobs in processes of their own have the CPUs and ports until then."""
    items.sort(key=lambda item: "ray_here" in getattr(item, "fixturenames", ()))
