"""Two runs side by side for a newcomer: with what is known of the users and without, and one user's story."""

from collections.abc import Mapping
from typing import NamedTuple

from drp_ray.evaluation.metrics.base import open_metrics
from drp_ray.evaluation.user_scores import common_numbers, common_users
from drp_ray.inputs.packaged_model import PACKAGE
from drp_ray.job.job import Job
from drp_ray.job.result import Result
from drp_ray.job.run import run_all
from drp_ray.job.story import choose_story, story_lines
from drp_ray.running.cluster import Say

BESIDE = "nonperso"
"""The method that knows nothing of the users."""

SAMPLE_WRITER = f"{PACKAGE}drp_ray"
ABOUT_THE_WRITER = (
    "These sentences are by the sample writer, a model of 6.2 million parameters that knows only the world of the "
    "generated sample. For reviews of your own data take a real model: make run MODEL=Qwen/Qwen2.5-0.5B-Instruct, or "
    "make run ENDPOINT=http://localhost:11434/v1 MODEL=NAME for one that a server has."
)


WITHOUT_STORY = (
    "There is no user's story to tell, since no comparison found a difference. Where 'differences not parsed' above is "
    "not 0, the model did not answer in the form that it was asked for: a larger one does."
)


class Scores(NamedTuple):
    """The metrics of several methods on the users who are ok in all of them."""

    methods: tuple[str, ...]
    n: int
    values: Mapping[str, tuple[float | None, ...]]


def run_beside(job: Job, beside: Job, say: Say) -> tuple[Result, Scores]:
    """Run both; the result of the first, and the scores of both on the same users."""
    results = run_all([job.opened, beside.opened], say)
    scores = [result.users for result in results]
    metrics = open_metrics(job.config.evaluation, job.opened.cache)
    numbers = common_numbers(scores, [metrics, metrics])
    methods = tuple(str(result.metrics["method"]) for result in results)
    values = {metric.name: tuple(each[metric.name].value for each in numbers) for metric in metrics}
    return results[0], Scores(methods, len(common_users(scores)), values)


def told(job: Job, beside: Job) -> list[str]:
    """The story of one user in lines, and what to know of who wrote it."""
    comparisons, differences, predictions = (job.table(name) for name in ("comparisons", "differences", "predictions"))
    story = choose_story(comparisons, differences, predictions, beside.table("predictions"))
    lines = ["", "One user's story", *story_lines(story)] if story is not None else [WITHOUT_STORY]
    is_sample_writer = any(model.id == SAMPLE_WRITER for model in job.config.models.values())
    return [*lines, "", ABOUT_THE_WRITER] if is_sample_writer else lines
