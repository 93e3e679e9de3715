"""The waves of a run within a budget, as jobs of their own, and what they have come to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from drp_ray.config import s3_options
from drp_ray.job.budget import Ledger, Spent, continued, cost_of_users, first_ledger, read_ledger, spent_on, told
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.plan import make_plan
from drp_ray.storage.folder import open_folder


def run_waves(job: OpenedJob, run_wave: Callable[[OpenedJob, Ledger], None]) -> OpenedJob:
    """Run wave after wave, from the one that is under way, as far as the budget goes; the job of the last wave.

    What `run_wave` gets are a wave's job and the ledger with it, which it writes before anything is made.
    """
    ledger = read_ledger(job.run_folder) or first_ledger(job.config, job.dataset)
    while True:
        wave = wave_of(job, ledger, ledger.worked)
        run_wave(wave, ledger)
        following = continued(ledger, job.config.budget.limits, spent_by(job, ledger), cost_of_users(wave.plan))
        if following is None:
            return wave
        if following.ended_by is not None:
            following.write(job.run_folder)
            return wave
        ledger = following


def wave_of(job: OpenedJob, ledger: Ledger, size: int) -> OpenedJob:
    """The job of a wave: the same for so many users, with what earlier waves have made taken over."""
    runtime = job.config.runtime.model_copy(update={"reuse": True})
    config = job.config.model_copy(update={"users": ledger.chosen(size), "runtime": runtime})
    root = open_folder(config.root, s3_options())
    plan = make_plan(config, job.dataset.name, job.plan.spec.dataset_identity, root)
    return replace(job, config=config, plan=plan)


def _ledger_of(job: OpenedJob) -> Ledger | None:
    """The ledger of a run within a budget, once it was begun."""
    return read_ledger(job.run_folder) if job.config.budget.limits else None


def whole_job(job: OpenedJob) -> OpenedJob:
    """The job with all users that it names, where a run within a budget has come to some of them."""
    ledger = _ledger_of(job)
    return job if ledger is None else wave_of(job, ledger, ledger.of)


def may_go_on(job: OpenedJob) -> bool:
    """Whether a wave may follow that under way, as far as is known of a run within a budget."""
    ledger = _ledger_of(job)
    return bool(job.config.budget.limits) and (ledger is None or not ledger.is_over)


def spent_by(job: OpenedJob, ledger: Ledger) -> Spent:
    """What all waves of a run have cost so far."""
    return spent_on(wave_of(job, ledger, size).plan for size in dict.fromkeys(ledger.sizes))


def budget_of(job: OpenedJob) -> dict[str, Any] | None:
    """How far a run has come within its budget; None where it has none, or was not begun."""
    ledger = _ledger_of(job)
    return None if ledger is None else told(ledger, job.config.budget.limits, spent_by(job, ledger))
