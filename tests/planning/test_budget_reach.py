"""How far a budget goes, by what a plan says of all users."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.config import Model
from drp_ray.planning.budget_reach import reach_of_budget
from drp_ray.planning.costs import CostPlan, StageCost
from drp_ray.planning.estimate import Estimate, Strata
from drp_ray.planning.replies import Known

TOKENS = st.floats(1, 1e9)
PRICES = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=3)
STAGES = st.lists(st.tuples(TOKENS, TOKENS, st.floats(0.001, 100), PRICES), min_size=1, max_size=3)
USERS = 100


def estimate(value):
    return Estimate(value, np.zeros(1))


def stage(number, prompt, output, hours, basis="measured"):
    tokens = {"prompt": estimate(prompt), "cached": estimate(0.0), "output": estimate(output)}
    bases = {"generator": Known([], basis, "")}
    known = None if hours is None else estimate(hours)
    return StageCost(f"s{number}", number == 0, 1, estimate(1), tokens, bases, 2, 0, {}, known, None)


def plan_of(*stages, **changes):
    strata = Strata(np.zeros(1, np.int64), np.zeros(1, np.int64))
    return CostPlan(USERS, 1, 0, None, None, stages, strata, {}, **changes)


def models(prices):
    return {str(n): Model(id="m", engine="openai", usd_per_million_tokens=price) for n, price in enumerate(prices)}


def reach(plan, limits, prices):
    config = SimpleNamespace(budget=SimpleNamespace(limits=limits))
    resources = {f"s{n}": SimpleNamespace(models=models(each)) for n, each in enumerate(prices)}
    return reach_of_budget(plan, config, resources)


@given(STAGES, st.floats(0.01, 10))
def test_a_limit_is_enough_for_users_in_proportion_to_what_all_would_be_counted_for(drawn, share):
    prices = [each[3] for each in drawn]
    plan = plan_of(*(stage(n, *each[:3]) for n, each in enumerate(drawn)))
    counted = {"tokens": sum(prompt + output for prompt, output, *_ in drawn)}
    counted["hours"] = sum(hours / 2 for *_, hours, _ in drawn)
    counted["usd"] = sum(
        (prompt * max(price[0] for price in prices) + output * max(price[1] for price in prices)) / 1e6
        for prompt, output, _, prices in drawn
    )
    found = reach(plan, {name: share * whole for name, whole in counted.items()}, prices)
    for name, whole in counted.items():
        assert found[name].of_all.value == pytest.approx(whole)
        assert found[name].users == pytest.approx(share * USERS)
        assert not found[name].is_bound


def test_what_one_stage_does_not_know_is_not_known_of_all():
    one, other = stage(0, 5.0, 5.0, 1.0), stage(1, 5.0, 5.0, None, "at most")
    found = reach(plan_of(one, other), {"tokens": 10.0, "hours": 3.0}, [[(1.0, 1.0)]] * 2)
    assert found["hours"].users is None and found["tokens"].users == 50
    assert found["tokens"].is_bound
    found = reach(plan_of(one, unplanned=("own",)), {"tokens": 10.0}, [[(1.0, 1.0)]])
    assert found["tokens"].of_all is None


def test_what_costs_nothing_ends_nothing():
    found = reach(plan_of(), {"tokens": 10.0}, [])
    assert found["tokens"].of_all.value == 0 and found["tokens"].users is None
