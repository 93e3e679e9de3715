"""Jobs level by level, without Ray: which of them go on when one fails, and what is told."""

from contextlib import contextmanager
from types import SimpleNamespace

import pyarrow as pa
import pytest

from drp_ray.errors import BadInput, DatasetChanged, JobFailed, StageFailed
from drp_ray.job import levels
from drp_ray.job import run as run_module
from drp_ray.job.levels import run_levels
from drp_ray.running.stage_info import RunOptions, StageInfo
from drp_ray.running.standby import Standby
from drp_ray.running.worker import Pool, Worker
from drp_ray.stages import stage as stage_module
from drp_ray.stages.stage import Resources, Stage, after
from drp_ray.storage.local import LocalFolder
from drp_ray.storage.parts import Manifest, PartEntry, part_name, read_manifest, write_manifest

LEVELS = ("users", "contexts", "predictions", "scores")


class Job:
    """A job of stages that are noted and not made; `refuses` has what the making of their work raises."""

    def __init__(self, root, name, shared=("users",), refuses=None, dataset="data") -> None:
        self.config = SimpleNamespace(name=name)
        self.refuses, self.dataset, self.cache, self.revisions = refuses or {}, dataset, root, {}
        self.run_folder = LocalFolder(root / "runs" / name)
        stages = {
            each: StageInfo(each, name, {}, LocalFolder(root / each / ("shared" if each in shared else name)))
            for each in LEVELS
        }
        definitions = {each: Stage(each, 1, after(), lambda context, each=each: self.make(each)) for each in LEVELS}
        self.plan = SimpleNamespace(spec=None, stages=stages, definitions=definitions, resources=dict)

    def make(self, name):
        if name in self.refuses:
            raise self.refuses[name]

    def current_manifests(self, names):
        found = {name: read_manifest(self.plan.stages[name].folder) for name in names}
        return found if all(found.values()) else None


@pytest.fixture
def made(monkeypatch):
    """What was made, as stage and job; what is in `fails` fails instead, after all else of its group."""
    made, fails = [], {}

    def make(group, options):
        options.standby.leave_room()
        failures = []
        for number, stage in enumerate(group):
            failure = fails.get((stage.name, stage.job.config.name))
            if isinstance(failure, StageFailed):
                yield number, failure
                continue
            if failure is not None:
                failures.append(failure)
                continue
            made.append((stage.name, stage.job.config.name))
            part = PartEntry(name=part_name(0), rows=0, digest="d")
            manifest = Manifest(
                stage=stage.name, fingerprint="f", made_from={}, inputs={}, parts=[part], totals={"rows": 0}
            )
            write_manifest(stage.job.plan.stages[stage.name].folder, manifest)
            yield number, manifest
        if failures:
            raise failures[0]

    monkeypatch.setattr(levels, "write_run", lambda *_: None)
    monkeypatch.setattr(levels, "_run", make)
    return SimpleNamespace(stages=made, fails=fails)


def run(jobs, standby=None):
    said = []
    options = RunOptions(5, None, False, None, standby or Standby())
    return run_levels([(job, list(LEVELS)) for job in jobs], said.append, options), said


def of(made, name):
    return [stage for stage, job in made.stages if job == name]


def test_a_job_whose_stage_cannot_be_begun_goes_no_further_and_the_others_go_on(tmp_path, made):
    jobs = [Job(tmp_path, "a", refuses={"contexts": DatasetChanged("changed")}), Job(tmp_path, "b")]
    failure, said = run(jobs)
    assert str(failure) == "changed" and of(made, "a") == ["users"] and of(made, "b") == list(LEVELS[1:])
    assert "Goes no further: a (changed)" in said


def test_the_first_failure_is_told_whatever_fails_later(tmp_path, made):
    made.fails["contexts", "a"] = JobFailed("first")
    failure, said = run(
        [Job(tmp_path, "a"), Job(tmp_path, "b", refuses={"scores": BadInput("later")}), Job(tmp_path, "c")]
    )
    assert str(failure) == "first" and of(made, "c") == list(LEVELS[1:])
    assert [line for line in said if "further" in line] == ["Goes no further: a (first)", "Goes no further: b (later)"]


def test_a_job_whose_stage_was_finished_goes_on_though_another_of_its_crew_failed(tmp_path, made, monkeypatch):
    monkeypatch.setattr(levels, "_groups", lambda stages: [list(stages)] if list(stages) else [])
    made.fails["predictions", "b"] = JobFailed("damaged")
    failure, _ = run([Job(tmp_path, "a"), Job(tmp_path, "b")])
    assert str(failure) == "damaged" and of(made, "a") == list(LEVELS) and "scores" not in of(made, "b")


def test_a_job_whose_stage_failed_alone_goes_no_further_and_those_of_its_crew_do(tmp_path, made, monkeypatch):
    monkeypatch.setattr(levels, "_groups", lambda stages: [list(stages)] if list(stages) else [])
    made.fails["predictions", "b"] = StageFailed("damaged")
    failure, said = run([Job(tmp_path, "a"), Job(tmp_path, "b"), Job(tmp_path, "c")])
    assert str(failure) == "damaged" and "Goes no further: b (damaged)" in said
    assert of(made, "a") == list(LEVELS) and of(made, "c") == list(LEVELS[1:]) and "scores" not in of(made, "b")


def test_what_failed_alone_is_told_though_another_failure_then_ends_all_of_its_crew(tmp_path, made, monkeypatch):
    monkeypatch.setattr(levels, "_groups", lambda stages: [list(stages)] if list(stages) else [])
    made.fails |= {("predictions", "a"): StageFailed("damaged"), ("predictions", "c"): JobFailed("no engine")}
    failure, said = run([Job(tmp_path, "a"), Job(tmp_path, "b"), Job(tmp_path, "c")])
    assert str(failure) == "damaged" and of(made, "b") == list(LEVELS[1:])
    assert [line for line in said if "further" in line] == [
        "Goes no further: a (damaged)",
        "Goes no further: c (no engine)",
    ]


def test_all_jobs_that_need_a_stage_that_failed_go_no_further(tmp_path, made):
    made.fails["contexts", "a"] = JobFailed("no")
    jobs = [Job(tmp_path, "a", LEVELS[:2]), Job(tmp_path, "b", LEVELS[:2]), Job(tmp_path, "c", LEVELS[:1])]
    failure, said = run(jobs)
    assert str(failure) == "no" and not of(made, "b") and of(made, "c") == list(LEVELS[1:])
    assert "Goes no further: a, b (no)" in said


def test_a_later_failure_of_the_last_job_is_told_too(tmp_path, made):
    made.fails |= {("contexts", "a"): JobFailed("first"), ("scores", "b"): JobFailed("later")}
    failure, said = run([Job(tmp_path, "a"), Job(tmp_path, "b")])
    assert str(failure) == "first" and said[-1] == "Goes no further: b (later)"


def test_the_failure_of_an_only_job_is_told_once(tmp_path, made):
    made.fails["contexts", "a"] = JobFailed("first")
    failure, said = run([Job(tmp_path, "a")])
    assert str(failure) == "first" and not any("first" in line for line in said)


class Loads(Worker):
    schema, keys = pa.schema([("n", pa.int64())]), ("n",)

    async def work(self, part, rows, earlier):
        return rows


def test_what_the_next_level_with_a_model_needs_is_loaded_while_one_without_runs(tmp_path, made, monkeypatch):
    job, ahead = Job(tmp_path, "a"), []
    resources = Resources(Pool(2, 0))
    loading = Stage("predictions", 1, after("contexts"), lambda context: Loads(), resources=lambda spec: resources)
    job.plan.definitions["predictions"] = loading
    job.plan.resources = lambda: {"predictions": resources}
    monkeypatch.setattr(levels, "load_ahead", lambda stage, *_: ahead.append((len(made.stages), stage.info.name)))
    run([job])
    assert ahead == [(1, "predictions")], "after users, which say how many parts there are, and before contexts"
    ahead.clear()
    run([job])
    assert not ahead, "it is there"


class Waiting(Standby):
    """Workers that stand by on all CPUs; notes what is done with them."""

    def __init__(self) -> None:
        super().__init__()
        self.done = []

    def leave_room(self):
        self.done.append("leave room")

    def dismiss(self):
        self.done.append("dismiss")

    def kill(self):
        self.done.append("kill")


def test_workers_that_stand_by_leave_a_cpu_to_the_task_that_builds_the_catalogue(tmp_path, made, monkeypatch):
    job, standby = Job(tmp_path, "a"), Waiting()
    monkeypatch.setattr(stage_module, "built_on_ray", lambda build, dataset: standby.done.append("build"))
    job.plan.definitions["predictions"] = Stage("predictions", 1, after(), lambda context: context.catalogue())
    empty = Manifest(stage="s", fingerprint="f", made_from={}, inputs={}, parts=[], totals={"rows": 0})
    monkeypatch.setattr(levels, "_run", lambda group, options: (made for made in [(0, empty)]))
    run([job], standby)
    assert standby.done[standby.done.index("build") - 1] == "leave room" and standby.done[-1] == "dismiss"


def test_an_interruption_ends_the_job_and_the_workers_that_stand_by(tmp_path, made):
    made.fails["contexts", "a"] = KeyboardInterrupt()
    standby = Waiting()
    with pytest.raises(KeyboardInterrupt):
        run([Job(tmp_path, "a"), Job(tmp_path, "b")], standby)
    assert standby.done[-1] == "kill"


def test_a_result_that_cannot_be_made_hides_no_earlier_failure_and_no_other_result(tmp_path, monkeypatch):
    jobs = [Job(tmp_path, name) for name in ("a", "b", "c")]
    for job in jobs:
        job.config.budget = SimpleNamespace(limits={})

    @contextmanager
    def prepared(*_):
        yield None

    def result_of(job, names, say):
        done.append(job.config.name)
        if job.config.name == "b":
            raise BadInput("the result of b")

    done = []
    completed = iter([False, False, False, False, True, True])
    monkeypatch.setattr(run_module, "check_run_name", lambda *_: None)
    monkeypatch.setattr(run_module, "prepared", prepared)
    monkeypatch.setattr(run_module, "_is_complete", lambda *_, **__: next(completed))
    monkeypatch.setattr(run_module, "run_levels", lambda *_: JobFailed("first"))
    monkeypatch.setattr(run_module, "result_of", result_of)
    with pytest.raises(JobFailed, match=r"^first$"):
        run_module.run_all(jobs, lambda line: None)
    assert done == ["b", "c"]
