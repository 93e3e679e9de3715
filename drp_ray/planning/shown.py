"""A cost plan as tables and lines for a person, and as JSON for a program."""

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from drp_ray.console import Table
from drp_ray.job.budget import FIRST_WAVE, budget_line
from drp_ray.planning.costs import CostPlan, Reach, StageCost, relative
from drp_ray.planning.estimate import Estimate

NOT_KNOWN = "not known"
EVERYTHING = "what is left"


def cost_table(plan: CostPlan) -> Table:
    """One line a stage, and the sum of what is left to be done."""
    columns = ["stage", "calls", "prompt tokens", "cached", "output", "hours", "GPU-hours", "USD"]
    title = f"{plan.users:,} users, {plan.comparisons:,} comparisons; estimated from {plan.sampled:,} users"
    table = Table(*columns, title=title)
    for stage in plan.stages:
        name = f"{stage.stage} (done)" if stage.is_done else stage.stage
        table.add_row(name, *_cells(partial(_of_stage, stage), stage.is_bound))
    table.add_section()
    table.add_row(EVERYTHING, *_cells(plan.total, any(stage.is_bound for stage in plan.left)))
    return table


def _of_stage(stage: StageCost, name: str) -> Estimate | None:
    found: Estimate | None = stage.tokens[name] if name in stage.tokens else getattr(stage, name)
    return found


def _cells(of: Callable[[str], Estimate | None], is_bound: bool) -> Iterator[str]:
    yield shown(of("calls"))
    yield shown(of("prompt"), is_bound)
    yield shown(of("cached"), is_bound)
    yield shown(of("output"), is_bound)
    for name in ("wall_hours", "gpu_hours", "usd"):
        yield shown(of(name), is_bound, is_whole=False)


def shown(estimate: Estimate | None, is_bound: bool = False, is_whole: bool = True) -> str:
    """A number with half of its 95% interval in percent, where it is not exact; a bound with a sign before it."""
    if estimate is None:
        return NOT_KNOWN
    is_small = not is_whole and 0 < estimate.value < 1
    number = f"{estimate.value:.2g}" if is_small else f"{estimate.value:,.{0 if is_whole else 2}f}"
    share = "" if estimate.is_exact else f" ±{relative(estimate):.0%}"
    return f"≤ {number}{share}" if is_bound else f"{number}{share}"


def notes_on(plan: CostPlan) -> Iterator[str]:
    """What the numbers rest on."""
    for stage in plan.stages:
        for role, known in stage.bases.items():
            yield f"{stage.stage}: replies of the {role}: {_basis(known, plan.is_calibrated)}"
        for model, speed in stage.speeds.items():
            yield f"{stage.stage}: {model} does {speed.tokens_per_second:,.0f} tokens a second ({speed.source})"
    for (name, model), why in plan.too_slow.items():
        yield f"{name}: {model}: {why}, so nothing was measured there"
    if any(stage.hours is None for stage in plan.stages):
        advice = "" if plan.is_calibrated else "--calibrate measures it, or "
        yield f"Hours are not known without a speed: {advice}give --tokens-per-second"
    for model, about in plan.tokenizers.items():
        yield f"{model}: tokens are {about}"
    yield (
        "± is half of a 95% interval over who was sampled and how few replies are known. Representatives are stood in "
        "for, speeds are taken as given, retries and evictions from the prefix cache are not counted."
    )
    if plan.texts_to_embed is not None:
        yield f"embeddings: at most {plan.texts_to_embed:,} texts{_embedding_time(plan)}, which are not in hours or USD"
    for name in plan.unplanned:
        yield f"{name} asks language models too, and cannot be planned"
    yield from _notes_on_budget(plan)


def _notes_on_budget(plan: CostPlan) -> Iterator[str]:
    """What all users would take of each limit, and how many users it may be enough for."""
    for name, reach in plan.budget.items():
        limit = f"budget of {reach.limit:,.6g} {name}"
        if reach.of_all is None:
            yield f"{limit}: what all {plan.users:,} users would take is {NOT_KNOWN}, and how many it may be enough for"
            continue
        whole = f"{shown(reach.of_all, reach.is_bound, is_whole=name == 'tokens')} {name}"
        # A run counts the hours of its other stages too, so that the hours here bound nothing.
        where, sign = (" in these stages", "") if name == "hours" else ("", "≥ " if reach.is_bound else "")
        yield f"{limit}: all {plan.users:,} users would take {whole}{where}; it may be enough for {_users(reach, sign)}"
    if plan.spent is not None:
        yield (
            f"{budget_line(plan.spent)}. The run takes their rows of differences and predictions over; the numbers "
            "here are those of all users"
        )


def _users(reach: Reach, sign: str) -> str:
    if reach.users is None or reach.users >= reach.all_users:
        return "all of them"
    first = min(FIRST_WAVE, reach.all_users)
    in_any_case = f", and {first} are worked on in any case" if reach.users < first else ""
    return f"{sign}{math.floor(reach.users):,} of them{in_any_case}"


def _embedding_time(plan: CostPlan) -> str:
    if plan.embedding is None or plan.embedding_hours is None:
        return ""
    rate, source = plan.embedding
    return f" and {plan.embedding_hours:.2g} hours of one replica, at {rate:,.0f} texts a second ({source})"


def _basis(known: Any, is_calibrated: bool) -> str:
    mean = sum(reply.tokens for reply in known.replies) / len(known.replies)
    if known.basis == "at most":
        advice = "--reply-tokens" if is_calibrated else "--reply-tokens, --calibrate,"
        return f"not known, so taken at their limit ({known.source}); give {advice} or run a few users"
    return f"{mean:,.0f} tokens on average, {known.basis} ({known.source})"


def as_json(plan: CostPlan) -> str:
    """All numbers of a plan."""
    totals = {name: plan.total(name) for name in (*TOTALS, "prompt", "cached", "output", "output_limit")}
    document = {
        "users": plan.users,
        "sampled": plan.sampled,
        "comparisons": plan.comparisons,
        "texts_to_embed": plan.texts_to_embed,
        "embedding": None
        if plan.embedding is None
        else {**plan.embedding._asdict(), "hours_at_most": plan.embedding_hours},
        "stages": {stage.stage: _stage_as_json(stage) for stage in plan.stages},
        "left": {name: None if found is None else found.as_json() for name, found in totals.items()},
        "tokenizers": dict(plan.tokenizers),
        "unplanned": list(plan.unplanned),
        "too_slow": [{"stage": name, "model": model, "why": why} for (name, model), why in plan.too_slow.items()],
        "budget": {name: _reach_as_json(reach) for name, reach in plan.budget.items()},
        "spent": plan.spent,
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


TOTALS = ("calls", "wall_hours", "gpu_hours", "usd")


def _reach_as_json(reach: Reach) -> dict[str, Any]:
    return {
        "limit": reach.limit,
        "of_all": None if reach.of_all is None else reach.of_all.as_json(),
        "is_bound": reach.is_bound,
        "users": reach.users,
    }


def _stage_as_json(stage: StageCost) -> dict[str, Any]:
    numbers = {name: getattr(stage, name) for name in TOTALS} | dict(stage.tokens)
    return {
        "done": stage.is_done,
        "rows": stage.rows,
        "replicas": stage.replicas,
        "gpus": stage.gpus,
        **{name: None if found is None else found.as_json() for name, found in numbers.items()},
        "replies": {role: {"basis": known.basis, "source": known.source} for role, known in stage.bases.items()},
        "speeds": {model: speed._asdict() for model, speed in stage.speeds.items()},
    }
