"""A run within a budget ends with a whole random sample of the users, and asks nothing twice."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.config import Users, checked, load_config
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.job.budget import FIRST_WAVE, Ledger, Spent, budget_line, continued, read_ledger, told, within_budget
from drp_ray.job.job import Job
from drp_ray.job.opened_job import open_job
from drp_ray.job.run import run_all
from drp_ray.storage.folder import LocalFolder

USERS = 24
MANY = st.integers(1, 3000)


def simulated(of, costs, limits, hours_a_user=0.01):
    """The ledger at the end, and what was spent, where users cost what they cost and nothing is paid twice."""
    ledger = Ledger(Users(), of, (min(FIRST_WAVE, of),))
    while True:
        own = costs[: ledger.worked]
        spent = Spent(float(own.sum()), float(own.sum()) / 1e6, hours_a_user * ledger.worked)
        following = continued(ledger, limits, spent, {"tokens": own, "usd": own / 1e6})
        if following is None or following.ended_by:
            return following or ledger, spent
        assert following.worked > ledger.worked
        ledger = following


@given(MANY, st.integers(0, 1000), st.floats(1, 1e7), st.sampled_from(["tokens", "usd"]))
def test_waves_grow_until_all_are_worked_on_or_a_limit_ends_the_run(of, seed, limit, kind):
    costs = np.random.default_rng(seed).lognormal(6, 0.6, of)
    limits = {kind: limit if kind == "tokens" else limit / 1e6}
    ledger, spent = simulated(of, costs, limits)
    assert list(ledger.sizes) == sorted(set(ledger.sizes))
    assert (ledger.worked == of) == (ledger.ended_by is None)
    if ledger.worked == of:
        return
    assert ledger.ended_by == kind
    assert len(ledger.sizes) == 1 or spent.tokens <= limit * 1.15
    assert ledger.worked == FIRST_WAVE or spent.tokens >= limit * 0.5


@given(MANY, st.integers(0, 1000))
def test_a_budget_that_is_far_away_is_not_reached(of, seed):
    costs = np.random.default_rng(seed).lognormal(6, 0.6, of)
    ledger, _ = simulated(of, costs, {"tokens": 20 * costs.sum() + 1e5, "hours": 1e6})
    assert (ledger.worked, ledger.ended_by) == (of, None)
    assert ledger.chosen(ledger.worked) == ledger.users


def test_the_nearest_limit_ends_a_run():
    costs = np.full(1000, 100.0)
    ledger, spent = simulated(1000, costs, {"tokens": 1e9, "hours": 2.0, "usd": 1.0}, hours_a_user=0.01)
    assert ledger.ended_by == "hours"
    assert spent.hours <= 2.0


@given(MANY, MANY)
def test_a_budget_is_told_of_the_users_of_the_job(worked, of):
    line = budget_line(told(Ledger(Users(), of, (min(worked, of),)), {"hours": 2.0}, Spent(hours=1.0)))
    assert "1 of 2 hours spent on" in line
    if worked >= of:
        assert f"all {of:,} users of the job" in line
    else:
        assert f"{worked:,} of {of:,} users, a random sample" in line


def test_a_few_users_do_not_tell_what_all_will_cost():
    costs = np.full(8, 100.0)
    assert continued(Ledger(Users(), 10_000, (8,)), {"tokens": 1e12}, Spent(800.0), {"tokens": costs}).worked == 128


def test_more_money_goes_on_where_a_run_has_ended():
    costs = np.full(1000, 100.0)
    ended, spent = simulated(1000, costs, {"tokens": 20_000})
    assert ended.ended_by == "tokens"
    more = continued(ended, {"tokens": 60_000}, spent, {"tokens": costs[: ended.worked]})
    assert (more.sizes[:-1], more.ended_by) == (ended.sizes, None)
    assert ended.worked < more.worked <= 600


def test_only_on_average_dear_users_are_expected():
    ledger = Ledger(Users(), 1000, (100,))
    even, uneven = np.full(100, 50.0), np.array([0.0, 100.0] * 50)
    spent = Spent(5000.0)
    sizes = [continued(ledger, {"tokens": 10_000}, spent, {"tokens": costs}).worked for costs in (even, uneven)]
    assert sizes[0] == 200 > sizes[1] > 170


def test_users_of_whom_nothing_is_left_are_not_taken_to_cost_nothing():
    """All users of the wave were forgotten: what they cost together is known all the same."""
    ledger = Ledger(Users(), 1000, (100,))
    wave = continued(ledger, {"tokens": 10_000}, Spent(5000.0), {"tokens": np.zeros(0)})
    assert 100 < wave.worked <= 200


def settings_of(place, **changes):
    return {
        "name": "run",
        "dataset": str(place / "data"),
        "root": str(place / "out"),
        "method": "rag",
        "models": {
            "llm": {
                "engine": "tests.fakes:ScriptedEngine",
                "id": str(place / "script"),
                "usd_per_million_tokens": [1, 1],
            }
        },
        "report": False,
        "runtime": {"num_cpus": 2},
        **changes,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("budget")
    write_sample(LocalFolder(place / "data"), USERS, 0)
    (place / "script").write_text(json.dumps({"log": str(place / "log")}))
    return place


def opened(place, **changes):
    (place / "job.yaml").write_text(yaml.safe_dump(settings_of(place, **changes)))
    return Job.open(place / "job.yaml")


def calls(place):
    found = (place / "log").read_text().split() if (place / "log").exists() else []
    (place / "log").unlink(missing_ok=True)
    return found


def test_a_budget_changes_no_row_and_pays_for_none_twice(place, ray_here):
    budgeted = opened(place, budget={"tokens": 10**9})
    result = budgeted.run(say=lambda line: None)
    asked = calls(place)
    assert len(asked) == len(set(asked)) == USERS
    assert result.metrics["budget"]["waves"] == [8, USERS]
    assert result.metrics["budget"]["ended_by"] is None
    plain = opened(place, root=str(place / "plain"))
    plain.run(say=lambda line: None)
    assert opened(place, budget={"tokens": 10**9}).predictions().equals(plain.predictions())
    assert {
        name: info.fingerprint for name, info in opened(place, budget={"tokens": 10**9}).opened.plan.stages.items()
    } == {name: info.fingerprint for name, info in plain.opened.plan.stages.items()}
    spent = result.metrics["budget"]["spent"]["tokens"]
    rows = plain.predictions()
    assert spent == sum(rows["prompt_tokens"].to_pylist()) + sum(rows["completion_tokens"].to_pylist())
    calls(place)
    _ends_early(place, spent)


def _ends_early(place, whole):
    """Half of the tokens: the first users in random order, whole, as a run of that sample would have them."""
    half = {"root": str(place / "half"), "users": {"seed": 3}}
    result = opened(place, **half, budget={"tokens": whole // 2}).run(say=lambda line: None)
    found = result.metrics["budget"]
    assert found["ended_by"] == "tokens"
    assert FIRST_WAVE < found["users"] == result.metrics["users"] < USERS
    assert found["spent"]["tokens"] <= whole // 2
    n = found["users"]
    sampled = opened(place, root=half["root"], users={"seed": 3, "sample": n})
    assert sampled.opened.current_manifests(sampled.opened.plan.stages) is not None
    assert len(calls(place)) == n
    job = opened(place, **half, budget={"tokens": whole // 2})
    assert job.run(say=lambda line: None).metrics["budget"] == found
    assert calls(place) == []
    status = CliRunner().invoke(app, ["status", str(place / "job.yaml")]).output
    assert f"{n} of {USERS} users" in status


def test_a_run_of_other_users_is_not_continued(tmp_path):
    config = checked(settings_of(tmp_path, budget={"hours": 3}, users={"sample": 100}), "job")
    ledger = Ledger(config.users, 100, (8, 40))
    assert within_budget(config, ledger).users == Users(sample=40)
    assert within_budget(within_budget(config, ledger), ledger).users == Users(sample=40)
    assert within_budget(config, ledger.with_wave(100)).users == config.users
    other = checked(settings_of(tmp_path, budget={"hours": 3}, users={"sample": 90}), "job")
    with pytest.raises(BadInput, match="other users"):
        within_budget(other, ledger)
    ledger.write(LocalFolder(tmp_path))
    assert read_ledger(LocalFolder(tmp_path)) == ledger
    (tmp_path / "budget.json").write_text("{}")
    with pytest.raises(BadInput, match="damaged"):
        read_ledger(LocalFolder(tmp_path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"budget": {"tokens": 5}, "users": {"limit": 3}}, "users.sample"),
        (
            {"budget": {"usd": 5}, "models": {"llm": {"engine": "openai", "id": "m"}}},
            "models.llm.usd_per_million_tokens",
        ),
        ({"budget": {"tokens": 0}}, "budget.tokens"),
        ({"budget": {"token": 4}}, "tokens"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(tmp_path, changes, named):
    with pytest.raises(BadInput, match=named):
        checked(settings_of(tmp_path, **changes), "job")


def test_a_budget_is_for_whole_single_runs(place):
    job = opened(place, budget={"tokens": 5}, root=str(place / "nothing"))
    with pytest.raises(BadInput, match="--until"):
        job.run(until="contexts", say=lambda line: None)
    with pytest.raises(BadInput, match="sweep"):
        run_all([job.opened], lambda line: None)
    assert not (place / "nothing").exists()
    assert load_config(place / "job.yaml").budget.limits == {"tokens": 5.0}


def test_watching_goes_from_wave_to_wave_until_no_other_follows(place, monkeypatch):
    config = load_config(place / "job.yaml", ["name=watched", "budget={tokens: 1}"])
    ledgers = [Ledger(config.users, USERS, sizes) for sizes in ((8,), (8, 20))]
    ledgers.append(replace(ledgers[-1], ended_by="tokens"))
    folder, looked_at = open_job(config).run_folder, []
    ledgers.pop(0).write(folder)

    def all_done(job):
        looked_at.append(job.config.users.sample)
        return []

    monkeypatch.setattr(Job, "status", all_done)
    monkeypatch.setattr(time, "sleep", lambda seconds: ledgers.pop(0).write(folder))
    overrides = ["--set", "name=watched", "--set", "budget={tokens: 1}"]
    shown = CliRunner().invoke(app, ["status", str(place / "job.yaml"), "--watch", *overrides])
    assert (shown.exit_code, looked_at, ledgers) == (0, [8, 20, 20], [])
