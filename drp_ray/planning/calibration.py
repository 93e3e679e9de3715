"""Asks the job's own prompts of its real engines for a short time: how fast they are, and how they reply."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import ray

from drp_ray.config import Embedding, api_key
from drp_ray.engines.base import Engine, ModelSpec
from drp_ray.engines.embedder import make_embedder
from drp_ray.errors import JobFailed
from drp_ray.llm.live_engine import live_engines
from drp_ray.llm.model_worker import ModelRow, ModelWorker
from drp_ray.planning.asked import Call, RecordingEngine, Reply, Tries, made_row
from drp_ray.planning.replies import MOST_REPLIES, Known
from drp_ray.planning.throughput import TextsPerSecond, Throughput
from drp_ray.planning.trial import Asked, Made, Trial
from drp_ray.running.cluster import Claim, own_failures_of_tasks
from drp_ray.running.worker import Pool

T = TypeVar("T")

CALIBRATION_S = 120.0
"""Seconds of asking, over all stages; the start of engines comes on top."""


class Timed(NamedTuple):
    """How long a stage was asked, and the calls that were answered meanwhile, also of rows that were not finished.

    `waiting` has the models that answered nothing in that time, with the number of calls that were waiting for them.
    """

    seconds: float
    calls: list[Call]
    waiting: Mapping[str, int] = {}


EMBEDDING_S = 20.0
"""Seconds of embedding."""

TEXTS_AT_ONCE = 64
"""Texts that are embedded together here; a run takes more, so that less is padded."""


class Calibration(NamedTuple):
    """What was measured: tokens a second by stage and model, replies by stage and role, and texts embedded a second.

    `too_slow` says for a stage and a model that no call was answered in the time that there was.
    """

    throughputs: Mapping[tuple[str, str], Throughput]
    replies: Mapping[tuple[str, str], Known]
    embedding: TextsPerSecond | None = None
    too_slow: Mapping[tuple[str, str], str] = {}


@dataclass
class _RealEngines:
    """Asks rows on real engines, as many at once as these want, until a stage's time is up."""

    seconds: float
    engines: Mapping[str, Engine]
    timed: dict[str, Timed] = field(default_factory=dict)

    async def ask(
        self, name: str, worker: ModelWorker, rows: Sequence[ModelRow], before: Sequence[Sequence[ModelRow]]
    ) -> list[Asked]:
        """The rows that were answered in time.

        Raises:
            JobFailed: a model was asked and answered nothing, and not for want of time.
        """
        began, waiting, done, begun = time.monotonic(), iter(rows), list[Asked](), list[list[Call]]()
        tries = Tries()
        at_once = min(self.engines[spec.model].concurrency for spec in worker.roles.values())

        async def one_after_another() -> None:
            for row in waiting:
                calls: list[Call] = []
                begun.append(calls)
                recorded = {
                    role: RecordingEngine(role, spec.model, self.engines[spec.model], calls, tries)
                    for role, spec in worker.roles.items()
                }
                done.append(Asked(row.blank["user_id"], await made_row(row, worker, recorded), calls))

        asking = [asyncio.ensure_future(one_after_another()) for _ in range(at_once)]
        finished, late = await asyncio.wait(asking, timeout=self.seconds)
        answered = [call for calls in begun for call in calls]
        self.timed[name] = Timed(time.monotonic() - began, answered, _unanswered(tries, answered))
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for each in finished:
            each.result()
        _see_that_models_answer(name, tries, self.timed[name].waiting)
        return done


def _unanswered(tries: Tries, answered: Sequence[Call]) -> dict[str, int]:
    """The models that answered none of their calls, with the number of these."""
    models = {call.model for call in answered}
    return {model: count for model, count in tries.made.items() if model not in models}


def _see_that_models_answer(stage: str, tries: Tries, unanswered: Mapping[str, int]) -> None:
    """Raise where a model failed a call and answered none: it measured nothing, and would fail a run."""
    for model, count in unanswered.items():
        if model in tries.first_failure:
            raise JobFailed(
                f"{stage}: {model} answered none of {count:,} calls, so nothing can be measured; "
                f"the first failed of {tries.first_failure[model]}"
            )


def measure(
    trial: Trial, names: Sequence[str], models: Mapping[str, ModelSpec], seconds: float
) -> tuple[Made, dict[str, Timed]]:
    """Start engines, and go through some stages with them, each for some seconds."""

    async def run() -> dict[str, Timed]:
        engines = live_engines(models)
        try:
            for engine in engines.values():
                await engine.start()
            real = _RealEngines(seconds, engines)
            await trial.go_through(real.ask, names)
            return real.timed
        finally:
            for engine in engines.values():
                await engine.close()

    timed = asyncio.run(run())
    return trial.made, timed


def embed_for(settings: Embedding, texts: Sequence[str], seconds: float) -> TextsPerSecond | None:
    """Load the embedding model and embed texts until the time is up; None where there are no texts."""
    embedder, done, began = make_embedder(settings), 0, time.monotonic()
    while done < len(texts) and time.monotonic() - began < seconds:
        done += len(embedder.encode(texts[done : done + TEXTS_AT_ONCE]))
    took = time.monotonic() - began
    return TextsPerSecond(done / took, f"measured in {took:.0f} s, {done:,} texts") if done else None


def calibrate(trial: Trial, seconds: float = CALIBRATION_S) -> Calibration:
    """Go through all stages on the cluster, each where its models are; neighbours that ask the same models share them.

    Then embed reviews that others wrote about the sampled users' items.

    Raises:
        BadInput: the key of an endpoint is not set.
        JobFailed: a model cannot be loaded or answers nothing, or an endpoint refuses.
    """
    names, resources = trial.stages(), trial.plan.resources()
    timed: dict[str, Timed] = {}
    for group in _with_the_same_models(trial, names):
        needs = resources[group[0]]
        # With their keys: the environment of another node does not have them.
        models = {name: ModelSpec.of(model, api_key(model)) for name, model in needs.models.items()}
        trial.made, of_group = _on_cluster(needs.pool, measure, trial, group, models, seconds / max(len(names), 1))
        timed |= of_group
    return measured(timed)._replace(embedding=_embedding_speed(trial))


def claims(trial: Trial) -> dict[str, Claim]:
    """What `calibrate` takes of the cluster for each stage that it measures: one worker, after those before it."""
    names = [*trial.stages(), "embeddings"]
    pools = {name: needs.pool for name, needs in trial.plan.resources().items() if name in names}
    return {name: Claim(gpus=pool.num_gpus, cpus=pool.num_cpus) for name, pool in pools.items()}


def _embedding_speed(trial: Trial) -> TextsPerSecond | None:
    needs = trial.plan.resources().get("embeddings")
    if needs is None or needs.embedder is None:
        return None
    texts = {review["text_id"]: review["text"] for reviews in trial.sample.reviews.values() for review in reviews}
    in_no_order = [texts[name] for name in sorted(texts)]  # ids are hashes
    return _on_cluster(needs.pool, embed_for, needs.embedder, in_no_order, EMBEDDING_S)


def _on_cluster(pool: Pool, function: Callable[..., T], *arguments: Any) -> T:
    """Run a function where the models of a pool would be.

    Raises:
        BadInput, JobFailed: as the function does.
    """
    task = ray.remote(num_cpus=pool.num_cpus, num_gpus=pool.num_gpus)(function)
    with own_failures_of_tasks():
        found: T = ray.get(task.remote(*arguments))
    return found


def _with_the_same_models(trial: Trial, names: Sequence[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    resources = trial.plan.resources()
    for name in names:
        if groups and resources[groups[-1][0]].models == resources[name].models:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def measured(timed: Mapping[str, Timed]) -> Calibration:
    """What the calls of some stages say of the models: stages without a call say nothing."""
    throughputs: dict[tuple[str, str], Throughput] = {}
    replies: dict[tuple[str, str], list[Reply]] = {}
    too_slow: dict[tuple[str, str], str] = {}
    for stage, (seconds, calls, waiting) in timed.items():
        too_slow |= {
            (stage, model): f"none of {count:,} calls was answered in {seconds:.0f} s"
            for model, count in waiting.items()
        }
        tokens = sum(call.prompt - call.cached + call.output for call in calls)
        if calls:
            rate = Throughput(tokens / seconds, f"measured in {seconds:.0f} s, {len(calls):,} calls")
            throughputs |= {(stage, call.model): rate for call in calls}
        for call in calls:
            if call.is_free and call.text:
                replies.setdefault((stage, call.role), []).append(Reply(call.text, call.output))
    known = {key: Known(some[:MOST_REPLIES], "measured", "--calibrate") for key, some in replies.items()}
    return Calibration(throughputs, known, too_slow=too_slow)
