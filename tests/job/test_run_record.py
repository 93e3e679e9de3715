"""A run's name stands for its settings: other settings are refused by name, other libraries are not."""

import json
from types import SimpleNamespace

import pytest

from drp_ray.config import checked
from drp_ray.errors import BadInput
from drp_ray.evaluation.metrics import base
from drp_ray.job import run_record
from drp_ray.job.plan import make_plan
from drp_ray.job.run_record import (
    RUN,
    added_stages,
    check_run_name,
    read_record,
    recorded_config,
    recorded_revisions,
    write_run,
)
from drp_ray.storage.folder import LocalFolder

JOB = {"name": "job", "dataset": "d", "root": "r", "method": "rag", "models": {"llm": {"id": "some/model"}}}


def at(monkeypatch, **versions):
    monkeypatch.setattr(run_record, "versions", lambda: versions)


def test_a_run_that_goes_on_keeps_its_history(tmp_path, folder, monkeypatch):
    first = job(tmp_path)
    for versions in ({"ray": "1"}, {"ray": "1"}, {"ray": "2", "commit": "c"}):
        at(monkeypatch, **versions)
        write_run(folder, first.config, first.plan)
    record = json.loads(folder.read(RUN))
    assert [entry["versions"] for entry in record["history"]] == [{"ray": "1"}, {"ray": "2", "commit": "c"}]
    assert (record["libraries"], record["commit"]) == ({"ray": "2"}, "c")


def test_a_record_without_a_history_begins_one_with_what_it_says(tmp_path, folder, monkeypatch):
    first = job(tmp_path)
    at(monkeypatch, ray="1", commit="old")
    write_run(folder, first.config, first.plan)
    record = json.loads(folder.read(RUN))
    del record["history"], record["revisions"]
    folder.write(RUN, json.dumps(record).encode())
    at(monkeypatch, ray="2")
    write_run(folder, first.config, first.plan)
    history = json.loads(folder.read(RUN))["history"]
    assert [entry["versions"] for entry in history] == [{"ray": "1", "commit": "old"}, {"ray": "2"}]
    assert recorded_revisions(record) == {}


@pytest.fixture
def folder(tmp_path):
    return LocalFolder(tmp_path / "run")


def job(tmp_path, **settings):
    config = checked({**JOB, **settings}, "the test")
    plan = make_plan(config, "d", {"users/a": "1"}, LocalFolder(tmp_path))
    return SimpleNamespace(config=config, plan=plan)


def check(folder, job):
    check_run_name(folder, job.config, job.plan)


def test_the_same_settings_go_on_under_their_name(tmp_path, folder):
    first = job(tmp_path)
    check(folder, first)
    write_run(folder, first.config, first.plan)
    check(folder, job(tmp_path, runtime={"rows_per_part": 7}))


def test_other_settings_are_refused_and_named(tmp_path, folder):
    first = job(tmp_path)
    write_run(folder, first.config, first.plan)
    with pytest.raises(BadInput, match=r"exists with other settings \(stages.*temperature: 0.8 there, 0.5 here"):
        check(folder, job(tmp_path, sampling={"temperature": 0.5}))


def test_other_settings_of_a_metric_are_refused_and_named(tmp_path, folder, monkeypatch):
    class Settings(base.Section):
        weight: float = 1.0

    monkeypatch.setattr(base.METRICS["rouge1"], "Settings", Settings)
    first = job(tmp_path)
    write_run(folder, first.config, first.plan)
    check(folder, job(tmp_path, evaluation={"metrics": {"rouge1": {}}}))
    other = job(tmp_path, evaluation={"metrics": {"rouge1": {"weight": 2.0}}})
    assert other.plan.stages["scores"].fingerprint != first.plan.stages["scores"].fingerprint
    with pytest.raises(BadInput, match=r"scores\.settings\.metric_settings: null there, .*weight.* here"):
        check(folder, other)


def test_new_versions_of_libraries_name_new_scores_and_refuse_no_run(tmp_path, folder, monkeypatch):
    first = job(tmp_path)
    write_run(folder, first.config, first.plan)
    monkeypatch.setattr(f"{NLTK_VERSION_USER}.version", lambda library: "99.0")
    later = job(tmp_path)
    assert later.plan.stages["scores"].fingerprint != first.plan.stages["scores"].fingerprint
    assert later.plan.stages["predictions"] == first.plan.stages["predictions"]
    check(folder, later)


def test_a_record_of_the_first_version_which_held_library_versions_is_accepted(tmp_path, folder):
    now = job(tmp_path)
    write_run(folder, now.config, now.plan)
    record = json.loads(folder.read(RUN))
    assert record["made_from"]["stages"]["scores"] == {"settings": {}}
    record["made_from"]["stages"]["scores"]["settings"] = {"metrics": {"meteor": "nltk 1.0"}}
    folder.write(RUN, json.dumps(record).encode())
    check(folder, now)


def test_a_run_that_nobody_judges_is_read_as_one(tmp_path, folder):
    plain = job(tmp_path)
    write_run(folder, plain.config, plain.plan)
    assert recorded_config(read_record(folder), "here").evaluation.judge == {}
    judged = job(tmp_path, evaluation={"judge": {}})
    write_run(folder, judged.config, judged.plan)
    assert recorded_config(read_record(folder), "here").evaluation == judged.config.evaluation


def test_judges_may_come_and_go_and_stay_in_the_record_while_the_predictions_are_the_same(tmp_path, folder):
    plain, judged = job(tmp_path), job(tmp_path, evaluation={"judge": {"judge": {}, "gpt": {"samples": 5}}})
    write_run(folder, plain.config, plain.plan)
    check(folder, judged)
    write_run(folder, judged.config, judged.plan)
    stages = json.loads(folder.read(RUN))["stages"]
    check(folder, plain)
    write_run(folder, plain.config, plain.plan)
    assert json.loads(folder.read(RUN))["stages"] == stages
    assert set(added_stages(read_record(folder), plain.plan)) == {"judgements", "judgements-gpt"}
    assert added_stages(read_record(folder), judged.plan) == {}
    other = job(tmp_path, sampling={"temperature": 0.5})
    assert added_stages(read_record(folder), other.plan) == {}
    assert added_stages(None, plain.plan) == {}


def test_the_commit_of_a_judge_that_was_looked_up_stays_in_the_record(tmp_path, folder):
    plain = job(tmp_path)
    write_run(folder, plain.config, plain.plan, {"some/model": "a", "some/judge": "b"})
    write_run(folder, plain.config, plain.plan, {"some/model": "a"})
    assert json.loads(folder.read(RUN))["revisions"] == {"some/model": "a", "some/judge": "b"}


NLTK_VERSION_USER = "drp_ray.evaluation.metrics.meteor"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null"])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path, folder, content):
    folder.write(RUN, content)
    with pytest.raises(BadInput, match=r"run\.json is .*: delete it, or choose another name|run\.json is damaged"):
        check(folder, job(tmp_path))
