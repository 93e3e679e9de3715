"""control_judgements: what a judge says of texts that nobody generated, between which its judgements can be read.

It judges the controls that follow from the dataset: the real review itself, the user's own review of another item, and
another user's review of the same item. Nothing here depends on predictions, so that all runs on the same users share
it. Every judge has a stage of its own (`judging`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import ONE_JUDGE
from drp_ray.evaluation.controls import OF_DATA
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.schema import Row
from drp_ray.stages.contexts import with_items
from drp_ray.stages.judging import JudgeTexts, judge_arguments, judge_resources, judge_settings, stage_name
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import read_part

STAGE = "control_judgements"


@dataclass
class JudgeControls(JudgeTexts):
    """Controls in, answers out; `catalogue` is Ray's reference to the items."""

    users: Folder
    catalogue: Any
    texts = OF_DATA

    async def start(self, count: Callable[..., None]) -> None:
        """Load the model, and map the catalogue."""
        await super().start(count)
        self._items = Catalogue(await self.catalogue)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Judge the controls of a part; the real reviews are in the part of `users` of the same name."""
        users = (await asyncio.to_thread(read_part, self.users, part)).rows
        reviews = dict(zip(users["user_id"].to_pylist(), users["target"].to_pylist(), strict=True))
        targets = [reviews[user] for user in rows["user_id"].to_pylist()]
        texts = pa.array([target["text"] for target in targets], pa.string())
        shown = pa.array([_without_text(target) for target in with_items(targets, self._items)], schema.TARGET)
        return await super().work(part, rows.append_column("reference", texts).append_column("target", shown), earlier)


def _without_text(target: Row) -> Row:
    return {field.name: target[field.name] for field in schema.TARGET}


def control_judgement_stage(judge: str) -> Stage:
    """The stage of one judge."""
    return Stage(
        stage_name(STAGE, judge),
        version=1,
        inputs=after("controls", "users"),
        settings=partial(judge_settings, judge),
        resources=partial(judge_resources, judge),
        make=partial(_make, judge),
        rows_each=lambda spec: spec.config.evaluation.judge[judge].samples * len(OF_DATA),
        only_evaluates=True,
        reads_dataset=True,
    )


def _make(judge: str, context: StageContext) -> JudgeControls:
    arguments = judge_arguments(judge, context, stage_name(STAGE, judge))
    return JudgeControls(**arguments, users=context.folders["users"], catalogue=context.catalogue())


def _of_job(spec: JobSpec) -> tuple[Stage, ...]:
    judges = spec.config.evaluation.judge if spec.config.evaluation.controls else {}
    return tuple(control_judgement_stage(judge) for judge in judges)


CONTROL_JUDGEMENTS = replace(control_judgement_stage(ONE_JUDGE), variants=_of_job)
