"""judgements: how like the user's real review each prediction is, in the words of a judge (a language model).

Every judge of a job has a stage of its own: `judgements` is that of the one named `judge`, `judgements-NAME` that of
another one (`judging`).
"""

import asyncio
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import ONE_JUDGE
from drp_ray.evaluation.judge import PREDICTION
from drp_ray.stages.judging import JudgeTexts, judge_arguments, judge_in, judge_resources, judge_settings, stage_name
from drp_ray.stages.stage import Stage, StageContext, after
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import read_part

STAGE = "judgements"


@dataclass
class JudgePredictions(JudgeTexts):
    """Predictions in, answers out; what was to be written about is in the part of `contexts` of the same name."""

    contexts: Folder
    texts = (PREDICTION,)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Judge the predictions of a part."""
        contexts = (await asyncio.to_thread(read_part, self.contexts, part)).rows
        targets = dict(zip(contexts["user_id"].to_pylist(), contexts["target"].to_pylist(), strict=True))
        column = pa.array([targets[user] for user in rows["user_id"].to_pylist()], schema.TARGET)
        return await super().work(part, rows.append_column("target", column), earlier)


def judgement_stage(judge: str) -> Stage:
    """The stage of one judge."""
    return Stage(
        stage_name(STAGE, judge),
        version=1,
        # The first input names the parts; the contexts have what was to be written about.
        inputs=after("predictions", "contexts"),
        settings=partial(judge_settings, judge),
        resources=partial(judge_resources, judge),
        make=partial(_make, judge),
        rows_each=lambda spec: spec.config.evaluation.judge[judge].samples,
        only_evaluates=True,
    )


def judge_of(stage: str) -> str | None:
    """The judge whose judgements of predictions a stage has; None for all other stages."""
    return judge_in(STAGE, stage)


def _make(judge: str, context: StageContext) -> JudgePredictions:
    arguments = judge_arguments(judge, context, stage_name(STAGE, judge))
    return JudgePredictions(**arguments, contexts=context.folders["contexts"])


JUDGEMENTS = replace(
    judgement_stage(ONE_JUDGE),
    variants=lambda spec: tuple(judgement_stage(judge) for judge in spec.config.evaluation.judge),
)
