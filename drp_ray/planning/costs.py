"""What the calls of sampled users come to for all users: tokens, hours and money, of a stage and in all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from drp_ray.config import Model
from drp_ray.planning.asked import Call
from drp_ray.planning.census import Census
from drp_ray.planning.estimate import Estimate, Strata, Values, nothing, total_of
from drp_ray.planning.replies import Known
from drp_ray.planning.throughput import TextsPerSecond, Throughput
from drp_ray.planning.trial import Asked
from drp_ray.schema import Row
from drp_ray.stages.stage import Resources, base_name

PER_COMPARISON = ("differences", "feature_keys")
"""The stages with a row for every comparison; the others have the same number of rows for every user."""

TokensOf = Callable[[Call], float]
QUANTITIES: Mapping[str, TokensOf] = {
    "prompt": lambda call: call.prompt,
    "cached": lambda call: call.cached,
    "output": lambda call: call.output,
    "output_limit": lambda call: call.output_limit,
}
"""Kinds of tokens, by name."""


@dataclass(frozen=True)
class Prices:
    """In US dollars: of a GPU for an hour, and of a million tokens in and out of endpoints that have no price."""

    usd_per_gpu_hour: float | None = None
    usd_per_million_tokens: tuple[float, float] | None = None

    def of(self, model: Model) -> tuple[float, float] | None:
        """What a million tokens in and out of a model cost; None where that has no price."""
        if model.engine != "vllm" and self.usd_per_million_tokens is not None:
            return self.usd_per_million_tokens
        return model.usd_per_million_tokens


@dataclass(frozen=True)
class StageCost:
    """What a stage takes. `tokens` are estimates by name (`QUANTITIES`); without a known speed there are no hours.

    `bases` says for each role that writes freely how the length of its replies is known. `hours` are those of one
    replica, were it alone.
    """

    stage: str
    is_done: bool
    rows: int
    calls: Estimate
    tokens: Mapping[str, Estimate]
    bases: Mapping[str, Known]
    replicas: int
    gpus: float
    speeds: Mapping[str, Throughput]
    hours: Estimate | None
    usd: Estimate | None

    @property
    def gpu_hours(self) -> Estimate | None:
        """Hours times GPUs, whatever the number of replicas."""
        return None if self.hours is None else self.hours * self.gpus

    @property
    def wall_hours(self) -> Estimate | None:
        """Hours on the clock with all replicas at work."""
        return None if self.hours is None else self.hours * (1 / self.replicas)

    @property
    def is_bound(self) -> bool:
        """Whether the length of some replies is only known to be at most `max_tokens`."""
        return any(known.basis == "at most" for known in self.bases.values())


@dataclass(frozen=True)
class Reach:
    """How far a limit of the budget goes. `of_all` is what all users would take of it, None where that is not known.

    `is_bound` says that the lengths of some replies are only known to be at most `max_tokens`: all users would take
    `of_all` at most then, and the limit is enough for `users` at least.
    """

    limit: float
    of_all: Estimate | None
    is_bound: bool
    all_users: int

    @property
    def users(self) -> float | None:
        """Users that the limit is enough for, also more than there are; None where that is not known or has no end."""
        if self.of_all is None or not self.of_all.value:
            return None
        return self.limit / (self.of_all.value / self.all_users)


@dataclass(frozen=True)
class CostPlan:
    """A plan: the stages that ask language models, in order, and what it rests on."""

    users: int
    sampled: int
    comparisons: int
    texts_to_embed: int | None
    embedding: TextsPerSecond | None
    stages: tuple[StageCost, ...]
    strata: Strata
    tokenizers: Mapping[str, str]
    unplanned: tuple[str, ...] = ()
    is_calibrated: bool = False
    too_slow: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """What is said of models that answered nothing in the time that they were measured, by stage and model."""

    budget: Mapping[str, Reach] = field(default_factory=dict)
    spent: Mapping[str, Any] | None = None
    """What a run that was begun with a budget has come to (`job.budget.told`)."""

    @property
    def embedding_hours(self) -> float | None:
        """Hours that one replica of the embedding model takes at most; None where its speed was not measured."""
        if self.texts_to_embed is None or self.embedding is None:
            return None
        return self.texts_to_embed / self.embedding.texts_per_second / 3600

    @property
    def left(self) -> list[StageCost]:
        """The stages that are not done yet: the totals are over these."""
        return [stage for stage in self.stages if not stage.is_done]

    def total(self, name: str) -> Estimate | None:
        """The sum over what is left of a property or a kind of tokens; None where a stage does not know it."""
        found = [each.tokens[name] if name in QUANTITIES else getattr(each, name) for each in self.left]
        if any(each is None for each in found):
            return None
        return sum(found, start=nothing(self.strata))


@dataclass(frozen=True)
class Costing:
    """Turns the calls of sampled users in one stage into totals."""

    users: Sequence[Row]
    strata: Strata
    census: Census
    stage: str
    asked: Sequence[Asked]
    resources: Resources
    prices: Prices

    def cost(self, is_done: bool, bases: Mapping[str, Known], rates: Mapping[str, Throughput | None]) -> StageCost:
        """The cost of the stage, with what is known of replies by role and of speed by model."""
        tokens = {name: self._total(of_call) for name, of_call in QUANTITIES.items()}
        tokens["output"] = self._output(bases)
        hours = self._hours(bases, rates)
        pool = self.resources.pool
        known = {model: rate for model, rate in rates.items() if rate is not None}
        return StageCost(
            self.stage,
            is_done,
            round(self._sum(lambda asked: 1).value),
            self._total(lambda call: 1),
            tokens,
            bases,
            pool.replicas,
            pool.num_gpus,
            known,
            hours,
            self._usd(bases, hours),
        )

    @property
    def _per(self) -> Values:
        if base_name(self.stage) in PER_COMPARISON:
            return self.census.comparisons.astype(np.float64)
        return np.ones(len(self.census.user_ids))

    def _sum(self, value: Callable[[Asked], float]) -> Estimate:
        """The total of a value of rows."""
        place = {user["user_id"]: index for index, user in enumerate(self.users)}
        values = np.zeros(len(place))
        for each in self.asked:
            values[place[each.user_id]] += value(each)
        return total_of(values, self._per, self.strata)

    def _total(self, value: TokensOf, model: str | None = None) -> Estimate:
        """The total of a value of calls, of one model or all."""
        return self._sum(lambda asked: sum(value(call) for call in asked.calls if model in (None, call.model)))

    def _output(self, bases: Mapping[str, Known], model: str | None = None) -> Estimate:
        """Tokens that are written, by one model or all; their error is also that of few replies of known length."""
        variance = 0.0
        for role, known in bases.items():
            lengths = np.array([reply.tokens for reply in known.replies], np.float64)
            calls = self._total(partial(_is_free_call, role), model).value
            variance += calls**2 * (lengths.var(ddof=1) / len(lengths) if len(lengths) > 1 else 0.0)
        return replace(self._total(QUANTITIES["output"], model), besides=float(variance))

    def _hours(self, bases: Mapping[str, Known], rates: Mapping[str, Throughput | None]) -> Estimate | None:
        """Hours of one replica; None where the speed of one of its models is not known."""
        hours = nothing(self.strata)
        for model, rate in rates.items():
            if rate is None:
                return None
            read = self._total(lambda call: call.prompt - call.cached, model)
            hours += (read + self._output(bases, model)) * (1 / rate.tokens_per_second / 3600)
        return hours

    def _usd(self, bases: Mapping[str, Known], hours: Estimate | None) -> Estimate | None:
        """The price of GPUs and of tokens; None where one of them has no price."""
        usd, gpus, is_priced = nothing(self.strata), self.resources.pool.num_gpus, False
        if gpus:
            if hours is None or self.prices.usd_per_gpu_hour is None:
                return None
            usd, is_priced = hours * (gpus * self.prices.usd_per_gpu_hour), True
        for name, model in self.resources.models.items():
            price = self.prices.of(model)
            if price is None and model.engine != "vllm":
                return None
            if price is not None:
                usd += self._total(QUANTITIES["prompt"], name) * (price[0] / 1e6)
                usd += self._output(bases, name) * (price[1] / 1e6)
                is_priced = True
        return usd if is_priced else None


def _is_free_call(role: str, call: Call) -> bool:
    return call.role == role and call.is_free


def relative(estimate: Estimate) -> float:
    """Half of the interval, as a share of the value; infinite where the value is zero and not exact."""
    low, high = estimate.interval
    if estimate.is_exact:
        return 0.0
    return (high - low) / 2 / estimate.value if estimate.value else math.inf
