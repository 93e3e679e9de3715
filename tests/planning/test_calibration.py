"""What is measured on real engines in a short time."""

from drp_ray.planning.asked import Call
from drp_ray.planning.calibration import Timed, measure, measured
from drp_ray.planning.census import take_census
from drp_ray.planning.sampled_users import draw_places, sample_users
from drp_ray.planning.trial import Trial
from tests.planning.test_cost_plan import opened, place  # noqa: F401 (a fixture)


def trial_of(job, users):
    census = take_census(job.dataset, job.config)
    return Trial(job.plan, job.dataset, sample_users(job.dataset, census, job.config, draw_places(census, users, 0)))


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
    made, timed = measure(trial, trial.stages(), job.plan.models(), seconds=60)
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
    import asyncio

    from tests.planning.counted import CountedWriter

    at_once = CountedWriter.complete

    async def slowly(self, messages, sampling):
        await asyncio.sleep(0.2)
        return await at_once(self, messages, sampling)

    monkeypatch.setattr(CountedWriter, "complete", slowly)
    job = opened(place)
    trial = trial_of(job, 12)
    made, timed = measure(trial, ["differences"], job.plan.models(), seconds=0.7)
    assert 0 < len(made["differences"]) < len(trial.sample.comparisons)
    finished = sum(len(asked.calls) for asked in made["differences"])
    assert finished <= len(timed["differences"].calls) <= finished + CountedWriter.concurrency
