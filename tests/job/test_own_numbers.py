"""The interval of a result is that of the number that it reports, over its own users with a text."""

import random
from dataclasses import replace

import pytest

from drp_ray.data.sample_files import write_sample
from drp_ray.evaluation.statistics import Resampling
from drp_ray.job.compare import read_group
from drp_ray.job.finished import open_groups
from drp_ray.job.own_numbers import intervals_of, intervals_of_executions
from drp_ray.storage.folder import LocalFolder
from tests.job.made_runs import finish, jobs_of, predictions, write_job

DRAWS = Resampling(300, 0)
USERS = [f"u{number:02}" for number in range(14)]
WORDS = ["the", "car", "runs", "well.", "a", "b"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "data"
    write_sample(LocalFolder(folder), 4, seed=0)
    return folder


def texts(seed, failed=()):
    chance = random.Random(seed)
    found = {user: " ".join(chance.choices(WORDS, k=4 + place % 5)) for place, user in enumerate(USERS)}
    return {user: None if user in failed else text for user, text in found.items()}


def group(folder, data, rows, **settings):
    """The one result of a job file whose executions predict these texts, each in some parts."""
    folder.mkdir()
    path = write_job(folder, data, **settings)
    for job, parts in zip(jobs_of(path), rows, strict=True):
        finish(job, parts)
    [found] = open_groups([str(path)])
    return read_group(found, found.name, with_failures=False), found


def test_the_order_of_rows_and_parts_changes_nothing(tmp_path, data):
    rows = predictions(texts(1, failed=("u03",)))
    plain, _ = group(tmp_path / "a", data, [[rows]])
    order = random.Random(0).sample(range(len(rows)), len(rows))
    moved = rows.take(order)
    other, _ = group(tmp_path / "b", data, [[moved.slice(0, 5), moved.slice(5)]])
    assert intervals_of(plain, DRAWS) == intervals_of(other, DRAWS) != {}


def test_failed_users_are_in_no_draw(tmp_path, data):
    failed = tuple(USERS[-4:])
    with_failures, _ = group(tmp_path / "a", data, [[predictions(texts(1, failed))]])
    kept = {user: text for user, text in texts(1).items() if user not in failed}
    without, _ = group(tmp_path / "b", data, [[predictions(kept)]])
    assert intervals_of(with_failures, DRAWS) == intervals_of(without, DRAWS)


def test_it_is_about_the_number_that_the_run_reports(tmp_path, data):
    read, found = group(tmp_path / "a", data, [[predictions(texts(1, failed=("u03",)))]])
    [run] = found.executions
    numbers = run.scores.numbers([measure for measure in run.measures if measure.name != "meteor"])
    intervals = intervals_of(read, DRAWS)
    assert "meteor" not in intervals  # No user has a value.
    for name, (low, high) in intervals.items():
        assert low <= numbers[name].value <= high
    assert intervals["rouge1"][0] < intervals["rouge1"][1] and "bleu" in intervals


def test_executions_are_drawn_together_and_each_by_itself(tmp_path, data):
    rows = [[predictions(texts(seed))] for seed in (1, 2)]
    read, _ = group(tmp_path / "a", data, rows, sampling={"temperature": [0.2, 0.4]}, protocol=None)
    both, each = intervals_of(read, DRAWS), intervals_of_executions(read, DRAWS)
    alone, _ = group(tmp_path / "b", data, rows[:1])
    assert each[0] == intervals_of(alone, DRAWS) and len(each) == 2 and each[0] != each[1]
    assert both != each[0]
    width = [high - low for low, high in (found["rouge1"] for found in (both, *each))]
    assert width[0] < max(width[1:])


def test_what_executions_compute_differently_has_no_interval(tmp_path, data):
    rows = [[predictions(texts(seed))] for seed in (1, 2)]
    read, _ = group(tmp_path / "a", data, rows, sampling={"temperature": [0.2, 0.4]}, protocol=None)
    first, second = read.executions
    other = replace(second, signatures={**second.signatures, "rouge1": "another way"})
    found = intervals_of(replace(read, executions=(first, other)), DRAWS)
    assert found == {name: ends for name, ends in intervals_of(read, DRAWS).items() if name != "rouge1"}


def test_few_users_have_no_interval(tmp_path, data):
    read, _ = group(tmp_path / "a", data, [[predictions(dict(list(texts(1).items())[:5]))]])
    assert intervals_of(read, DRAWS) == {}
