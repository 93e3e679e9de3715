"""Speed over time: no token is lost, and times that cannot be those of the stage are not used."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.job.finished import open_run
from drp_ray.storage.folder import LocalFolder
from drp_ray.viewer.facts import stage_costs
from drp_ray.viewer.timeline import PartTime, timeline
from tests.viewer.made_run import MadeRun

PARTS = st.lists(
    st.builds(PartTime, st.floats(1e9, 1e9 + 5000), st.floats(1, 2000), st.floats(0, 1e6)), min_size=4, max_size=12
)


def span(parts):
    return max(part.ended_s for part in parts) - min(part.began_s for part in parts)


@given(PARTS)
def test_all_tokens_are_in_the_line_at_some_time(parts):
    found = timeline(parts, span(parts))
    tokens = sum(speed * found.step_s for speed in found.speeds)
    assert tokens == pytest.approx(sum(part.tokens for part in parts), rel=1e-6, abs=1e-3)
    assert found.step_s * len(found.speeds) == pytest.approx(span(parts))


@given(PARTS, st.floats(-1e8, 1e8), st.randoms())
def test_neither_the_order_of_parts_nor_the_date_changes_the_line(parts, later, chance):
    moved = [PartTime(part.ended_s + later, part.seconds, part.tokens) for part in parts]
    chance.shuffle(moved)
    one, other = timeline(parts, span(parts)), timeline(moved, span(parts))
    assert other.step_s == pytest.approx(one.step_s)
    assert other.speeds == pytest.approx(one.speeds, rel=1e-3, abs=0.1)


def test_one_worker_after_another_is_twice_as_slow_as_two_at_a_time():
    alone = [PartTime(10.0 * number, 10, 1000) for number in range(1, 9)]
    together = [PartTime(10.0 * (number // 2), 10, 1000) for number in range(2, 10)]
    assert timeline(alone, 80).speeds == pytest.approx([100] * 80)
    assert timeline(together, 40).speeds == pytest.approx([200] * 80)


def test_times_of_copies_of_resumed_stages_and_of_few_parts_are_not_used():
    parts = [PartTime(10.0 * number, 10, 1000) for number in range(1, 9)]
    copied = [PartTime(1000.0, part.seconds, part.tokens) for part in parts]
    resumed = [*parts[:4], *(PartTime(part.ended_s + 3600, part.seconds, part.tokens) for part in parts[4:])]
    assert timeline(copied, 80) is None and timeline(resumed, 80) is None
    assert timeline(parts[:3], 30) is None and timeline([], 0) is None


def test_a_stage_has_the_times_of_its_files(tmp_path):
    folder = MadeRun(LocalFolder(tmp_path), n_users=24).write()
    stage = open_run(folder).stages["predictions"]
    for number, entry in enumerate(open_run(folder).entries("predictions")):
        os.utime(stage.path / entry.name, (0, 1e9 + 0.4 * number))
    costs = {cost.stage: cost for cost in stage_costs(open_run(folder))}
    # Five parts of 1.5 s each, one every 0.4 s; the stage took 2 s.
    assert costs["predictions"].over_time.step_s * 80 == pytest.approx(1.5 + 4 * 0.4)
    assert costs["scores"].over_time is None
