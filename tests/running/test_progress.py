"""What a heartbeat says, also while nothing finishes."""

import asyncio

import pytest

from drp_ray.running.part_work import phase
from drp_ray.running.progress import Amount, Heartbeat, StageProgress

TOTAL = Amount(4, 40)


def progress(rate_now=0.0, total=TOTAL, **counts):
    return StageProgress("differences", total, Amount(0, 0), counts, rate_now, rate_stage=rate_now)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "the cluster to start a worker"),
        ({"loading": 2}, "models to load (workers: 2)"),
        ({"loading": 0, "begun": 3, "in_flight": 64}, "answers of models or endpoints (rows: 64)"),
        ({"begun": 1, "reading": 1}, "storage, to read (parts: 1)"),
        ({"begun": 1, "committing": 2, "reading": 0}, "storage, to commit (parts: 2)"),
        ({"begun": 1}, "the work within parts"),
    ],
)
def test_while_no_row_is_finished_the_line_says_what_is_waited_for(counts, words):
    assert progress(**counts).line().endswith(f" | waiting for {words}")


def test_while_rows_are_finished_nothing_is_waited_for():
    assert "waiting" not in progress(rate_now=2.0, in_flight=5, begun=1).line()


def test_a_shuffle_is_not_said_to_wait():
    assert progress(total=None).waiting_for is None


def test_a_phase_ends_however_its_work_does():
    async def fails():
        with phase(added.append, "reading"):
            raise OSError

    added = []
    with pytest.raises(OSError):
        asyncio.run(fails())
    assert added == [{"reading": 1}, {"reading": -1}]


def test_rows_that_will_not_be_made_are_not_waited_for():
    heartbeat = Heartbeat(None, "predictions of 2 runs", 5, TOTAL, Amount(1, 10))
    heartbeat.withdraw(Amount(2, 20))
    assert heartbeat.now().total == Amount(2, 20)
