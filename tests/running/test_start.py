"""A Ray that does not start in time is a line, and any other failure of its start is told as it is."""

from types import SimpleNamespace

import pytest

from drp_ray.errors import JobFailed
from drp_ray.running.cluster import _init


def ray_that_raises(message: str) -> SimpleNamespace:
    def init(**_):
        raise Exception(message)

    return SimpleNamespace(init=init)


def test_a_ray_that_is_not_up_in_time_says_what_to_do(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(JobFailed, match="try again when there is less"):
        _init(ray_that_raises("The current node timed out during startup. This could happen"), 2)


def test_another_failure_of_its_start_is_told_as_it_is(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(Exception, match="another cause") as raised:
        _init(ray_that_raises("another cause"), 2)
    assert not isinstance(raised.value, JobFailed)
