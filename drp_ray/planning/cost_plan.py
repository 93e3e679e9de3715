"""What a job will ask of its models, how long that takes and what it costs, by stage and in all.

Nothing is written, and no model is loaded unless `calibrate` asks for it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from drp_ray.config import ROLES
from drp_ray.errors import BadInput
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.waves import budget_of, whole_job
from drp_ray.planning.budget_reach import reach_of_budget
from drp_ray.planning.calibration import Calibration, calibrate, claims
from drp_ray.planning.census import Census, take_census
from drp_ray.planning.costs import Costing, CostPlan, Prices, StageCost
from drp_ray.planning.counting import Counting
from drp_ray.planning.estimate import Strata
from drp_ray.planning.replies import Lengths
from drp_ray.planning.sampled_users import SampledUsers, draw_places, sample_users
from drp_ray.planning.throughput import Throughput, known_throughputs, stated_throughputs
from drp_ray.planning.tokens import open_tokenizer
from drp_ray.planning.trial import Made, Trial
from drp_ray.running.cluster import Say, check_resources, connect
from drp_ray.running.survey import is_current


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is made, and at which prices."""

    sample: int = 50
    seed: int = 0
    calibrate: bool = False
    reply_tokens: Sequence[str] = ()
    tokens_per_second: Sequence[str] = ()
    prices: Prices = field(default_factory=Prices)


def plan_cost(job: OpenedJob, options: PlanOptions, say: Say = print) -> CostPlan:
    """Plan a job from a sample of its users; with a budget, for all users that it names, whatever was worked on.

    Raises:
        BadInput: an option or a tokenizer cannot be used, there is nobody to predict for, or the cluster is too small
            to calibrate.
        JobFailed: to calibrate, a model could not be loaded or answered nothing.
    """
    job = whole_job(job)
    models = job.plan.models()
    lengths = Lengths.parse(options.reply_tokens, ROLES)
    speeds = known_throughputs(models) | stated_throughputs(options.tokens_per_second, list(models))
    tokenizers = {name: open_tokenizer(name, model) for name, model in models.items()}
    census = take_census(job.dataset, job.config)
    if not census.user_ids:
        raise BadInput(f"{job.dataset.folder.uri}: there is nobody to predict for")
    places = draw_places(census, options.sample, options.seed)
    sample = sample_users(job.dataset, census, job.config, places)
    measured = _calibrated(job, sample, say) if options.calibrate else None
    trial = Trial(job.plan, job.dataset, sample)
    counting = Counting(job, trial, tokenizers, lengths, measured or Calibration({}, {}))
    made = asyncio.run(trial.go_through(counting.ask))
    plan = _assembled(job, census, trial, made, counting, speeds, options.prices)
    reach = reach_of_budget(plan, job.config, job.plan.resources())
    return replace(plan, is_calibrated=options.calibrate, budget=reach, spent=budget_of(job))


def _calibrated(job: OpenedJob, sample: SampledUsers, say: Say) -> Calibration:
    trial, runtime = Trial(job.plan, job.dataset, sample), job.config.runtime
    with connect(runtime.num_cpus):
        check_resources(claims(trial), runtime.resources_wait_s, say)
        say("Starting the models, to ask them for two minutes")
        return calibrate(trial)


def _assembled(
    job: OpenedJob,
    census: Census,
    trial: Trial,
    made: Made,
    counting: Counting,
    speeds: Mapping[str, Throughput],
    prices: Prices,
) -> CostPlan:
    strata = Strata(census.strata, trial.sample.places)
    manifests, resources = job.manifests(), job.plan.resources()
    stages: list[StageCost] = []
    for name, asked in made.items():
        measured = counting.measured.throughputs
        rates = {model: measured.get((name, model)) or speeds.get(model) for model in resources[name].models}
        costing = Costing(trial.sample.users, strata, census, name, asked, resources[name], prices)
        stages.append(costing.cost(is_current(manifests[name], manifests), counting.bases_of(name, asked), rates))
    return CostPlan(
        users=len(census.user_ids),
        sampled=len(trial.sample.users),
        comparisons=int(census.comparisons.sum()) if "comparisons" in job.plan.stages else 0,
        texts_to_embed=census.texts_to_embed if "embeddings" in job.plan.stages else None,
        embedding=counting.measured.embedding,
        stages=tuple(stages),
        strata=strata,
        tokenizers={name: tokenizer.about for name, tokenizer in counting.tokenizers.items()},
        unplanned=tuple(trial.unplanned),
        too_slow=counting.measured.too_slow,
    )
