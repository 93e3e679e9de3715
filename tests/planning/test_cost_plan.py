"""A plan says what a run then takes."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.config import Users, load_config
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.job.budget import Ledger
from drp_ray.job.job import Job
from drp_ray.job.opened_job import open_job
from drp_ray.llm.model_worker import ModelRow
from drp_ray.planning.calibration import Calibration
from drp_ray.planning.census import take_census
from drp_ray.planning.cost_plan import PlanOptions, plan_cost
from drp_ray.planning.costs import Prices
from drp_ray.planning.counting import Counting
from drp_ray.planning.replies import Lengths
from drp_ray.planning.sampled_users import draw_places, sample_users
from drp_ray.planning.shown import as_json, notes_on
from drp_ray.planning.tokens import GuessedTokens
from drp_ray.planning.trial import Trial
from drp_ray.storage.folder import LocalFolder
from tests.planning.counted import MEAN_WORDS, CountedWriter  # noqa: F401 (jobs name it by import path)

USERS = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model):
    """A folder with a dataset and a job that needs no model."""
    place = tmp_path_factory.mktemp("plan")
    write_sample(LocalFolder(place / "data"), USERS, 0)
    (place / "embedder").touch()
    job = {
        "name": "planned",
        "dataset": str(place / "data"),
        "root": str(place / "out"),
        "method": "drp",
        "retrieval": {"n": 3},
        "selection": {"k": 2},
        "embedding": {
            "engine": "tests.fakes:HashEmbedder",
            "model": str(place / "embedder"),
            "replicas": 1,
            "num_gpus": 0,
        },
        "models": {
            "llm": {
                "engine": "tests.planning.counted:CountedWriter",
                "id": str(tiny_model),
                "num_gpus": 0,
                "engine_args": {"block_size": 16},
            }
        },
        "evaluation": {"judge": {"samples": 1}},
        "sampling": {"max_tokens": 300},
        "report": False,
        "runtime": {"num_cpus": 2},
    }
    (place / "job.yaml").write_text(yaml.safe_dump(job))
    return place


def opened(place, *overrides):
    return open_job(load_config(place / "job.yaml", overrides))


def stated(place, *overrides, **options):
    roles = ("extractor", "validator", "summarizer", "generator")
    lengths = [f"{role}={tokens_of_a_reply(place)}" for role in roles]
    return plan_cost(opened(place, *overrides), PlanOptions(reply_tokens=lengths, **options))


def tokens_of_a_reply(place):
    from drp_ray.planning.tokens import open_tokenizer
    from tests.planning.counted import WORDS

    tokenizer = open_tokenizer("llm", opened(place).config.models["llm"])
    return round(len(tokenizer.of_text(" ".join(WORDS * 10))) / len(WORDS * 10) * MEAN_WORDS) + 1


def contents(folder: Path):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_takes_what_was_planned(place, ray_here):
    planned = {"all": stated(place, sample=1000), "some": stated(place, sample=12)}
    assert not (place / "out").exists()
    job = Job(opened(place))
    job.run(say=lambda line: None)
    manifests = job.opened.manifests()
    for name, plan in planned.items():
        assert [stage.stage for stage in plan.stages] == ["differences", "predictions", "judgements"]
        for stage in plan.stages:
            used = manifests[stage.stage].totals
            assert stage.rows == used["rows"]
            assert stage.calls.value == pytest.approx(used["rows"] * (1 if stage.stage == "judgements" else 2))
            assert stage.calls.is_exact
            assert stage.tokens["prompt"].value == pytest.approx(used["prompt_tokens"], rel=0.15), (name, stage.stage)
            assert stage.tokens["cached"].value == pytest.approx(used["cached_tokens"], rel=0.15), (name, stage.stage)
            assert stage.tokens["output"].value == pytest.approx(used["completion_tokens"], rel=0.15)
            assert used["completion_tokens"] <= stage.tokens["output_limit"].value
    _after_the_run(place, job)


def _after_the_run(place, job):
    """Replies are measured then, and nothing is left to do; another job with the same model learns of them too."""
    before = contents(place / "out")
    again = plan_cost(job.opened, PlanOptions(sample=1000))
    other = plan_cost(opened(place, "retrieval.n=2", "name=other"), PlanOptions(sample=1000))
    assert again.left == []
    assert again.total("prompt").value == 0
    for plan in (again, other):
        assert {known.basis for stage in plan.stages for known in stage.bases.values()} == {"measured"}
    used = job.opened.manifests()["differences"].totals
    (differences, *_) = again.stages
    assert differences.tokens["output"].value == pytest.approx(used["completion_tokens"], rel=0.05)
    assert len(other.left) == 3
    assert contents(place / "out") == before


def test_the_same_seed_gives_the_same_plan_and_no_stage_is_made(place):
    one, again = stated(place, sample=8, seed=1), stated(place, sample=8, seed=1)
    other = stated(place, sample=8, seed=2)
    numbers = [[stage.tokens["prompt"].value for stage in plan.stages] for plan in (one, again, other)]
    assert numbers[0] == numbers[1] != numbers[2]


def test_a_length_that_nobody_knows_is_a_bound(place):
    plan = plan_cost(opened(place, "sampling.validator.max_tokens=7", f"root={place}/nothing"), PlanOptions(sample=4))
    assert all(stage.is_bound for stage in plan.stages if stage.bases)
    for stage in plan.stages[:2]:
        assert stage.tokens["output"].value == pytest.approx(stage.tokens["output_limit"].value)
    assert plan.stages[0].tokens["output"].value == pytest.approx(plan.stages[0].rows * (300 + 7))


def test_hours_and_money_follow_from_speed_replicas_and_prices(place):
    options = {"sample": 8, "tokens_per_second": ["llm=100"]}
    prices = Prices(usd_per_million_tokens=(2.0, 8.0))
    one = stated(place, **options, prices=prices)
    two = stated(place, "models.llm.replicas=2", **options, prices=prices)
    tokens = [one.total(name).value for name in ("prompt", "cached", "output")]
    assert one.total("wall_hours").value == pytest.approx((tokens[0] - tokens[1] + tokens[2]) / 100 / 3600)
    assert two.total("wall_hours").value == pytest.approx(one.total("wall_hours").value / 2)
    assert two.total("usd").value == pytest.approx(one.total("usd").value)
    assert one.total("usd").value == pytest.approx((tokens[0] * 2 + tokens[2] * 8) / 1e6)
    assert stated(place, sample=8).total("usd") is None
    assert stated(place, sample=8).total("wall_hours") is None


def test_gpus_are_paid_by_the_hour_whatever_the_number_of_replicas(place):
    gpus = ["models.llm.num_gpus=2", "models.llm.replicas=3"]
    plan = stated(place, *gpus, sample=8, tokens_per_second=["50"], prices=Prices(3.0, (0.0, 0.0)))
    assert plan.total("gpu_hours").value == pytest.approx(plan.total("wall_hours").value * 3 * 2)
    assert plan.total("usd").value == pytest.approx(plan.total("gpu_hours").value * 3)
    assert stated(place, *gpus, sample=8, tokens_per_second=["50"]).total("usd") is None


@pytest.mark.parametrize("method", ["nonperso", "rag", "intsum", "llm-trsr", "cicl", "persona-db", "dpl", "drp"])
def test_every_method_and_all_that_evaluates_can_be_planned(place, method):
    overrides = [f"method={method}", "evaluation.controls=true", "evaluation.feature_keys=true"]
    plan = stated(place, *overrides, sample=4)
    assert plan.unplanned == ()
    calls = {stage.stage: stage.calls.value for stage in plan.stages}
    assert calls["judgements"] == USERS
    assert 2 * USERS <= calls["control_judgements"] <= 3 * USERS
    assert ("differences" in calls) == ("feature_keys" in calls) == (method in ("dpl", "drp"))
    assert all(stage.tokens["prompt"].value > 0 for stage in plan.stages if stage.calls.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tokens_per_second": ["lmm=3"]}, "llm"),
        ({"tokens_per_second": ["llm=fast"]}, "above 0"),
        ({"tokens_per_second": ["0"]}, "above 0"),
        ({"reply_tokens": ["generater=3"]}, "generator"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(place, options, named):
    with pytest.raises(BadInput, match=named):
        plan_cost(opened(place), PlanOptions(**options))


def test_the_command_prints_a_table_and_writes_only_the_file_that_it_is_told(place, tmp_path):
    arguments = ["plan", str(place / "job.yaml"), "--sample", "4", "--set", f"root={tmp_path}/out"]
    printed = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "plan.json")])
    assert printed.exit_code == 0, printed.output
    assert "what is left" in printed.output
    assert "--calibrate" in printed.output
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["users"] == USERS
    assert document["left"]["calls"]["exact"]
    assert document["stages"]["differences"]["replies"]["extractor"]["basis"] == "at most"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    refused = CliRunner().invoke(app, [*arguments, "--reply-tokens", "nobody=3"])
    assert refused.exit_code == 2


def test_what_was_given_is_not_advised(place):
    plan = plan_cost(opened(place, f"root={place}/nothing"), PlanOptions(sample=2))
    assert "--calibrate" in "".join(notes_on(plan))
    slow = replace(plan, is_calibrated=True, too_slow={("differences", "llm"): "none of 8 calls was answered in 9 s"})
    assert "--calibrate" not in "".join(notes_on(slow))
    assert "none of 8 calls" in "".join(notes_on(slow))


@pytest.mark.parametrize("failing", range(7))
def test_what_nobody_foresaw_costs_rows_unless_it_fails_most_of_them(place, failing):
    job = opened(place)
    census = take_census(job.dataset, job.config)
    trial = Trial(job.plan, job.dataset, sample_users(job.dataset, census, job.config, draw_places(census, 2, 0)))

    async def answer(ask):
        return {"prediction": "fine"}

    async def fail(ask):
        raise ZeroDivisionError("of this user")

    rows = [ModelRow(str(n), fail if n < failing else answer, {"user_id": str(n)}) for n in range(6)]
    counting = Counting(job, trial, {"llm": GuessedTokens()}, Lengths({}), Calibration({}, {}))

    def asked():
        return asyncio.run(counting.ask("predictions", trial.worker("predictions"), rows, [[] for _ in rows]))

    if 2 * failing > len(rows):
        with pytest.raises(ZeroDivisionError, match="of this user"):
            asked()
    else:
        errors = [each.row["error"] for each in asked()]
        assert errors == ["ZeroDivisionError: of this user"] * failing + [None] * (len(rows) - failing)


def test_a_plan_says_how_far_a_budget_goes_whatever_wave_the_run_has_come_to(place, tmp_path):
    overrides = ["budget={tokens: 30000, hours: 3}", f"root={tmp_path}"]
    before = plan_cost(opened(place, *overrides), PlanOptions(sample=USERS))
    Ledger(Users(), USERS, (8,)).write(opened(place, *overrides).run_folder)
    assert opened(place, *overrides).config.users.sample == 8
    begun = plan_cost(opened(place, *overrides), PlanOptions(sample=USERS))
    assert before.users == begun.users == USERS
    for plan in (before, begun):
        tokens, hours = plan.budget["tokens"], plan.budget["hours"]
        assert tokens.of_all.value == pytest.approx(plan.total("prompt").value + plan.total("output").value)
        assert tokens.users == pytest.approx(30_000 * USERS / tokens.of_all.value)
        assert tokens.is_bound and hours.of_all is hours.users is None
        assert json.loads(as_json(plan))["budget"]["tokens"]["users"] == tokens.users
    assert begun.budget["tokens"].of_all.value == pytest.approx(before.budget["tokens"].of_all.value)
    lines = "\n".join(notes_on(begun))
    assert "budget of 30,000 tokens: all 24 users would take ≤ " in lines and "enough for ≥ " in lines
    assert "budget of 3 hours" in lines and "is not known" in lines
    assert "8 of 24 users" in lines and "8 of 24 users" not in "\n".join(notes_on(before))
    assert plan_cost(opened(place), PlanOptions(sample=2)).budget == {}
