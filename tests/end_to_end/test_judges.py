"""Judges in whole jobs: added to finished runs, resumed, counted, and none of them asks another one's calls again."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.errors import BadInput
from drp_ray.job.job import Job
from drp_ray.job.judged import judged_of
from drp_ray.storage.parts import read_manifest, read_rows
from tests.end_to_end.conftest import sample

__all__ = ["sample"]
USERS = 6
READABLE = [str(score) for score in range(11)]


class Judging:
    """A job whose one model writes and judges; every call leaves a line."""

    def __init__(self, folder: Path, dataset: Path, **settings) -> None:
        folder.mkdir(exist_ok=True)
        self.script, self.log, self.file = folder / "script.json", folder / "log", folder / "job.yaml"
        self.says(*READABLE)
        self.log.touch()
        job = {
            "name": "judged",
            "dataset": str(dataset),
            "root": str(folder / "results"),
            "method": "rag",
            "users": {"limit": USERS},
            "retrieval": {"n": 2},
            "models": {"llm": {"engine": "tests.fakes:ScriptedJudge", "id": str(self.script)}},
            "runtime": {"rows_per_part": 2, "num_cpus": 2, "max_attempts": 1},
        }
        self.file.write_text(yaml.safe_dump({**job, **settings}))

    def says(self, *answers: str) -> None:
        self.script.write_text(json.dumps({"log": str(self.script.with_name("log")), "answers": answers}))

    def open(self, judges=None, **settings) -> Job:
        return Job.open(self.file, {key.replace("__", "."): value for key, value in settings.items()}, judges=judges)

    def run(self, **settings):
        return self.open(**settings).run(say=lambda line: None)

    def evaluate(self, judges=None, retry_errors=False, **settings):
        return self.open(judges, **settings).evaluate(retry_errors, say=lambda line: None)

    def calls(self) -> Counter:
        return Counter(line.split()[0] for line in self.log.read_text().splitlines())

    @property
    def record(self) -> dict:
        return json.loads(self.open().opened.run_folder.read("run.json"))


@pytest.fixture(scope="module")
def judging(tmp_path_factory, sample, ray_here):
    """A run without a judge, its first number, and what it was asked."""
    job = Judging(tmp_path_factory.mktemp("judging"), sample)
    return job, job.run()


def test_judges_are_added_to_a_finished_run_and_none_asks_anything_again(judging):
    job, first = judging
    assert first.metrics["judges"] == {} and "judge_answers_unreadable" not in first.metrics["coverage"]
    assert job.calls() == {"writer": USERS}

    one = job.evaluate({"judge": {}})
    assert job.calls() == {"writer": USERS, "judge": 2 * USERS}
    found = one.metrics["judges"]["judge"]
    assert (found["n"], found["asked"], found["unreadable"]) == (USERS, 2 * USERS, 0)
    assert 0 <= found["value"] <= 1 and found["sd_over_samples"] >= 0
    assert one.metrics["metrics"] == first.metrics["metrics"]

    two = job.evaluate({"gpt": {"samples": 3}})
    assert job.calls() == {"writer": USERS, "judge": 5 * USERS}
    assert two.metrics["judges"]["judge"] == found
    assert two.metrics["judges"]["gpt"]["asked"] == 3 * USERS
    assert [measure.name for measure in two.judges] == ["judge_gpt", "judge"]

    again = job.evaluate({"gpt": {"samples": 3}, "judge": {}})
    plain = job.run()
    assert job.calls() == {"writer": USERS, "judge": 5 * USERS}
    assert again.metrics["judges"] == plain.metrics["judges"] == two.metrics["judges"]
    assert set(job.record["stages"]) >= {"judgements", "judgements-gpt", "predictions"}


def test_the_value_is_the_mean_of_the_rows_and_the_cost_is_counted(judging):
    job, _ = judging
    result = job.evaluate({"judge": {}})
    opened = job.open({"judge": {}})
    rows = opened.table("judgements").to_pylist()
    assert [row["text"] for row in rows] == ["prediction"] * 2 * USERS
    assert result.metrics["judges"]["judge"]["value"] == pytest.approx(sum(row["score"] for row in rows) / 120)
    status = next(line for line in opened.status() if line.stage == "judgements")
    assert (status.state, status.rows, status.rows_total) == ("done", 2 * USERS, 2 * USERS)
    assert status.prompt_tokens == sum(row["prompt_tokens"] for row in rows) > 0
    assert result.users.table["judge"].null_count == 0


def test_where_a_judge_comes_from_changes_no_folder(judging):
    job, _ = judging
    added, named = job.open({"judge": {}}), job.open(evaluation__judge={"samples": 2})
    assert added.folder("judgements").uri == named.folder("judgements").uri


def test_a_part_that_was_lost_is_made_again_alike_and_no_other(judging):
    job, _ = judging
    job.evaluate({"judge": {}})
    folder = job.open({"judge": {}}).folder("judgements")
    before, calls = read_rows(folder), job.calls()
    Path(folder.uri, "part-00001.parquet").unlink()
    Path(folder.uri, "manifest.json").unlink()
    job.evaluate({"judge": {}})
    assert job.calls() - calls == {"judge": 4}
    assert read_rows(folder).equals(before)


def test_what_cannot_be_read_is_missing_counted_and_asked_again_when_told_to(judging):
    job, first = judging
    job.says("7.5", "Score: 8", "I liked it.", "", "10")
    unsure = job.evaluate({"unsure": {"samples": 4}})
    rows = job.open({"unsure": {"samples": 4}}).table("judgements-unsure").to_pylist()
    readable = [row["score"] for row in rows if row["score"] is not None]
    found = unsure.metrics["judges"]["unsure"]
    assert (
        0
        < found["unreadable"]
        == 4 * USERS - len(readable)
        == unsure.metrics["coverage"]["error_rows"]["judgements-unsure"]
    )
    assert set(readable) == {8, 10} and found["value"] >= 0.8
    assert unsure.metrics["coverage"]["judge_answers_unreadable"]["judgements-unsure"] == found["unreadable"]
    assert unsure.error_rate > 0 and unsure.metrics["metrics"] == first.metrics["metrics"]
    job.says("6")
    calls = job.calls()
    again = job.evaluate({"unsure": {"samples": 4}}, retry_errors=True)
    assert job.calls() - calls == {"judge": found["unreadable"]}
    assert again.metrics["judges"]["unsure"]["unreadable"] == 0 and again.error_rate == 0
    job.says(*READABLE)


def test_a_run_that_is_not_finished_has_nothing_to_evaluate(judging, sample, tmp_path):
    job = Judging(tmp_path / "new", sample)
    with pytest.raises(BadInput, match=r"users is not complete.*drp-ray run"):
        job.evaluate({"judge": {}})
    assert not job.calls() and not (tmp_path / "new" / "results").exists()


def test_other_settings_of_the_run_are_still_refused(judging):
    job, _ = judging
    with pytest.raises(BadInput, match="exists with other settings"):
        job.evaluate({"judge": {}}, sampling__temperature=0.1)


def test_judgements_of_other_predictions_are_not_the_runs(judging):
    job, _ = judging
    job.evaluate({"judge": {}})
    opened = job.open()
    folder = opened.opened.plan.stages["predictions"].folder
    manifest = read_manifest(folder)
    text = folder.read("manifest.json").decode()
    try:
        folder.write(
            "manifest.json", text.replace(manifest.parts[0].digest, "0" * len(manifest.parts[0].digest)).encode()
        )
        assert judged_of(opened.opened) == []
    finally:
        folder.write("manifest.json", text.encode())


def test_the_command_adds_a_judge_and_prints_its_number(judging):
    job, _ = judging
    done = CliRunner().invoke(app, ["evaluate", str(job.file), "--judge", "third={samples: 1}"])
    assert done.exit_code == 0, done.output
    assert "judge_third" in done.output and "judgements-third: 6 rows" in done.output
    assert "judge_third" in CliRunner().invoke(app, ["run", str(job.file)]).output
    wrong = CliRunner().invoke(app, ["evaluate", str(job.file), "--judge", "third=5"])
    assert wrong.exit_code == 2


def test_a_run_that_finds_the_judgements_of_another_one_has_them(judging):
    job, _ = judging
    job.evaluate({"judge": {}})
    calls = job.calls()
    job.run(name="twin")
    twin = job.evaluate({"judge": {}}, name="twin")
    assert job.calls() == calls
    assert job.run(name="twin").metrics["judges"]["judge"] == twin.metrics["judges"]["judge"]


def test_a_run_all_of_whose_stages_are_there_already_has_a_record(judging):
    job, _ = judging
    calls = job.calls()
    job.run(name="third")
    assert job.calls() == calls
    assert json.loads(job.open(name="third").opened.run_folder.read("run.json"))["name"] == "third"


def test_a_sweep_compares_its_judges_too(judging):
    job, _ = judging
    calls = job.calls()
    done = CliRunner().invoke(
        app, ["sweep", str(job.file), "--set", "name=s", "--set", "evaluation.judge.samples=[1,2]"]
    )
    assert done.exit_code == 0, done.output
    assert job.calls() - calls == {"judge": USERS}
    compared = json.loads(job.open().opened.root.at("sweeps", "s").read("sweep.json"))
    values = {run["run"]: run["metrics"]["judge"] for run in compared["runs"]}
    assert values["s-samples2"] == job.evaluate({"judge": {}}).metrics["judges"]["judge"]["value"]
    assert 0 <= values["s-samples1"] <= 1
