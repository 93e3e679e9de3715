"""What is measured on real engines in a short time."""

import asyncio
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
from ray.exceptions import RayTaskError

from drp_ray.config import Model
from drp_ray.engines.base import CallGivenUp, EngineDied, ModelNotLoaded, ModelSpec, RequestRefused
from drp_ray.errors import BadInput, JobFailed
from drp_ray.planning import calibration, cost_plan
from drp_ray.planning.asked import Call
from drp_ray.planning.calibration import TEXTS_AT_ONCE, Timed, calibrate, claims, embed_for, measure, measured
from drp_ray.planning.census import take_census
from drp_ray.planning.cost_plan import PlanOptions, plan_cost
from drp_ray.planning.sampled_users import draw_places, sample_users
from drp_ray.planning.trial import Trial
from tests.planning.counted import CountedWriter
from tests.planning.test_cost_plan import opened, place  # noqa: F401 (a fixture)


def trial_of(job, users):
    census = take_census(job.dataset, job.config)
    return Trial(job.plan, job.dataset, sample_users(job.dataset, census, job.config, draw_places(census, users, 0)))


def specs(job):
    return {name: ModelSpec.of(model, None) for name, model in job.plan.models().items()}


def test_speed_is_of_tokens_that_are_computed_and_replies_are_kept_by_role():
    calls = [
        Call("extractor", "llm", 100, 60, 20, 300, "a text"),
        Call("judge", "other", 50, 0, 2, 16, "7", is_free=False),
    ]
    found = measured(
        {"differences": Timed(2.0, calls[:1]), "judgements": Timed(4.0, calls[1:]), "idle": Timed(1.0, [])}
    )
    assert found.throughputs["differences", "llm"].tokens_per_second == 30
    assert found.throughputs["judgements", "other"].tokens_per_second == 13
    assert set(found.replies) == {("differences", "extractor")}
    assert found.replies["differences", "extractor"].replies[0] == ("a text", 20)


def test_all_stages_are_gone_through_on_the_engines_of_the_job(place):  # noqa: F811
    job = opened(place)
    trial = trial_of(job, 4)
    made, timed = measure(trial, trial.stages(), specs(job), seconds=60)
    assert list(made) == list(timed) == ["differences", "predictions", "judgements"]
    assert len(made["differences"]) == len(trial.sample.comparisons)
    assert all(asked.row["status"] == "ok" for stage in made.values() for asked in stage)
    assert set(measured(timed).replies) == {
        ("differences", "extractor"),
        ("differences", "validator"),
        ("predictions", "summarizer"),
        ("predictions", "generator"),
    }


def test_no_row_is_begun_when_the_time_is_up(place, monkeypatch):  # noqa: F811
    at_once = CountedWriter.complete

    async def slowly(self, messages, sampling):
        await asyncio.sleep(0.2)
        return await at_once(self, messages, sampling)

    monkeypatch.setattr(CountedWriter, "complete", slowly)
    job = opened(place)
    trial = trial_of(job, 12)
    made, timed = measure(trial, ["differences"], specs(job), seconds=0.7)
    assert 0 < len(made["differences"]) < len(trial.sample.comparisons)
    finished = sum(len(asked.calls) for asked in made["differences"])
    assert finished <= len(timed["differences"].calls) <= finished + CountedWriter.concurrency


FAILURES = (ValueError("boom"), EngineDied("boom"), RequestRefused("boom"), CallGivenUp("boom"))


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_an_engine_that_answers_nothing_measures_nothing(place, monkeypatch, failure):  # noqa: F811
    async def fail(self, messages, sampling):
        raise failure

    monkeypatch.setattr(CountedWriter, "complete", fail)
    job = opened(place)
    trial = trial_of(job, 2)
    with pytest.raises(JobFailed, match="boom"):
        measure(trial, trial.stages(), specs(job), seconds=60)


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_call_that_fails_costs_its_row_alone(place, monkeypatch, failure):  # noqa: F811
    at_once, asked = CountedWriter.complete, []

    async def sometimes(self, messages, sampling):
        asked.append(messages)
        if len(asked) % 5 == 0:
            raise failure
        return await at_once(self, messages, sampling)

    monkeypatch.setattr(CountedWriter, "complete", sometimes)
    job = opened(place)
    trial = trial_of(job, 6)
    made, timed = measure(trial, ["differences"], specs(job), seconds=60)
    failed = [each for each in made["differences"] if each.row["status"] == "error"]
    assert len(made["differences"]) == len(trial.sample.comparisons) > len(failed)
    assert len(failed) == len(asked) // 5 == len(asked) - len(timed["differences"].calls)
    assert all("boom" in each.row["error"] for each in failed)
    assert measured(timed).throughputs


def test_an_engine_that_is_too_slow_to_be_measured_fails_nothing_and_is_told(place, monkeypatch):  # noqa: F811
    async def slowly(self, messages, sampling):
        await asyncio.sleep(60)

    monkeypatch.setattr(CountedWriter, "complete", slowly)
    job = opened(place)
    trial = trial_of(job, 4)
    made, timed = measure(trial, ["differences"], specs(job), seconds=0.1)
    found = measured(timed)
    assert made == {"differences": []} and not found.throughputs
    assert "none of 8 calls" in found.too_slow["differences", "llm"]


@pytest.mark.parametrize("too_much", ["models.llm.num_cpus=64", "models.llm.num_gpus=0.3", "embedding.num_cpus=64"])
def test_nothing_is_asked_of_a_cluster_that_is_too_small(place, ray_here, monkeypatch, too_much):  # noqa: F811
    monkeypatch.setattr(cost_plan, "calibrate", lambda trial: pytest.fail("it would wait for ever"))
    with pytest.raises(BadInput, match="the cluster has"):
        plan_cost(opened(place, too_much), PlanOptions(sample=2, calibrate=True), lambda line: None)


@pytest.mark.parametrize("method", ["drp", "rag"])
def test_what_calibrating_takes_of_a_cluster_is_checked_before(place, monkeypatch, method):  # noqa: F811
    settings = ["models.llm.num_cpus=3", "embedding.num_cpus=5", f"method={method}", "evaluation.controls=true"]
    trial, taken = trial_of(opened(place, *settings), 2), set()

    def on_cluster(pool, function, *arguments):
        taken.add((pool.num_gpus, pool.num_cpus))
        return ({}, {}) if function is measure else None

    monkeypatch.setattr(calibration, "_on_cluster", on_cluster)
    calibrate(trial)
    assert taken == set(claims(trial).values())


class Elsewhere:
    """Ray with another node, whose environment has no keys; its tasks fail as Ray tells it."""

    def __init__(self, fails=None):
        self.fails, self.keys = fails, []

    def remote(self, **resources):
        def call(trial, names, models, seconds):
            self.keys.append({name: model.api_key for name, model in models.items()})
            return {}, {name: Timed(1.0, []) for name in names}

        return lambda function: SimpleNamespace(remote=call)

    def get(self, result):
        if self.fails is not None:
            raise RayTaskError("measure", "Traceback: many lines", self.fails)
        return result


def one_stage_of(model):
    resources = SimpleNamespace(models={"llm": model}, pool=SimpleNamespace(num_cpus=1, num_gpus=0))
    plan = SimpleNamespace(resources=lambda: {"predictions": resources})
    return SimpleNamespace(stages=lambda: ["predictions"], plan=plan, made={})


ENDPOINT = Model(id="m", engine="openai", base_url="http://127.0.0.1:1/v1", api_key_env="KEY_OF_A_TEST")


def test_the_keys_of_endpoints_are_read_where_the_command_runs(monkeypatch):
    monkeypatch.setitem(os.environ, "KEY_OF_A_TEST", "secret")
    elsewhere = Elsewhere()
    monkeypatch.setattr(calibration, "ray", elsewhere)
    calibrate(one_stage_of(ENDPOINT))
    assert elsewhere.keys == [{"llm": "secret"}]


def test_a_model_that_cannot_be_loaded_is_told_as_the_engine_said_it(monkeypatch):
    monkeypatch.setitem(os.environ, "KEY_OF_A_TEST", "secret")
    monkeypatch.setattr(calibration, "ray", Elsewhere(ModelNotLoaded("no such model")))
    with pytest.raises(ModelNotLoaded, match=r"^no such model$"):
        calibrate(one_stage_of(ENDPOINT))


def test_texts_are_embedded_until_they_or_the_time_are_over(monkeypatch):
    class Slow:
        def encode(self, texts):
            time.sleep(0.1)
            return np.zeros((len(texts), 2))

    monkeypatch.setattr(calibration, "make_embedder", lambda settings: Slow())
    texts = [f"text {n}" for n in range(4 * TEXTS_AT_ONCE)]
    all_of_them, some, none = (embed_for(None, *asked) for asked in ((texts, 60.0), (texts, 0.15), ([], 60.0)))
    assert all_of_them.source.endswith(f"{len(texts)} texts") and some.source.endswith(f"{2 * TEXTS_AT_ONCE} texts")
    assert none is None and all_of_them.texts_per_second < TEXTS_AT_ONCE / 0.1


def test_models_and_embedder_are_measured_where_the_cluster_has_them(place, ray_here):  # noqa: F811
    trial = trial_of(opened(place), 6)
    found = calibrate(trial, seconds=30)
    others = {review["text_id"] for reviews in trial.sample.reviews.values() for review in reviews}
    assert ("differences", "llm") in found.throughputs
    assert found.embedding.source.endswith(f" {len(others):,} texts")


def test_a_job_without_embeddings_measures_no_embedder(place, ray_here):  # noqa: F811
    assert calibrate(trial_of(opened(place, "method=rag"), 4), seconds=5).embedding is None
