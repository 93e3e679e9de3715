"""How many users each limit of a job's budget may be enough for, and what all of them would take of it."""

from collections.abc import Mapping

from drp_ray.config import Config
from drp_ray.job.budget import dearest
from drp_ray.planning.costs import CostPlan, Reach, StageCost
from drp_ray.planning.estimate import Estimate, nothing
from drp_ray.stages.stage import Resources


def reach_of_budget(plan: CostPlan, config: Config, resources: Mapping[str, Resources]) -> dict[str, Reach]:
    """The reach of every limit, by name; of all stages that ask language models, those that are done too."""
    found: dict[str, Reach] = {}
    is_bound = any(stage.is_bound for stage in plan.stages)
    for name, limit in config.budget.limits.items():
        parts = [_taken(name, stage, resources[stage.stage]) for stage in plan.stages]
        known = [part for part in parts if part is not None]
        of_all = sum(known, start=nothing(plan.strata)) if len(known) == len(parts) and not plan.unplanned else None
        found[name] = Reach(limit, of_all, is_bound, plan.users)
    return found


def _taken(name: str, stage: StageCost, resources: Resources) -> Estimate | None:
    """What a stage takes of a limit, as a run counts it (`job.budget`): cached tokens too.

    GPUs cost hours there and no money, whatever price an option gives them.
    """
    read, written = stage.tokens["prompt"], stage.tokens["output"]
    if name == "tokens":
        return read + written
    if name == "hours":
        return stage.wall_hours
    price = dearest(resources)
    return read * (price[0] / 1e6) + written * (price[1] / 1e6)
