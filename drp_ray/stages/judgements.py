"""judgements: how like the user's real review each prediction is, in the words of a judge (a language model).

Every judge of a job has a stage of its own: `judgements` is that of the one named `judge`, `judgements-NAME` that of
another one. So a judge that is added later asks no other judge's calls again.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import ONE_JUDGE, Judge, Model, Role
from drp_ray.evaluation.judge import PREDICTION, score_facts
from drp_ray.evaluation.scale import SCALES, Expected, Scale
from drp_ray.llm.model_worker import ModelRow, ModelWorker
from drp_ray.llm.replies import UnusableReply
from drp_ray.llm.row_caller import RowCaller
from drp_ray.methods.base import Programme
from drp_ray.prompts.pack import JUDGEMENT, PromptPack
from drp_ray.prompts.prompt import Prompt, Templates
from drp_ray.running.worker import Key
from drp_ray.schema import Row
from drp_ray.stages.asking import ALWAYS_THINKS, asking_arguments, asking_resources, asking_settings
from drp_ray.stages.stage import JobSpec, Resources, Stage, StageContext, after
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, read_part

STAGE = "judgements"

ANSWER_TOKENS = 16
"""Tokens that an answer may have where the engine holds the model to the scale."""

LIKELIEST_TOKENS = 20
"""First tokens whose probabilities are asked for: as many as vLLM and OpenAI give."""


@dataclass(frozen=True)
class Asked:
    """How a judge is asked: by which rubric, on which scale, and whether it thinks before it answers."""

    rubric: str
    scale: Scale
    expected: bool
    thinks_first: bool
    answer_tokens: int


@dataclass
class JudgeTexts(ModelWorker):
    """Lets a judge answer on every text of every user, `samples` times."""

    prompts: PromptPack
    contexts: Folder
    asked_how: Asked
    samples: int
    schema = schema.JUDGEMENTS
    keys = ("user_id", "text", "sample")

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Predictions in, answers out; what was to be written about is in the part of `contexts` of the same name."""
        contexts = (await asyncio.to_thread(read_part, self.contexts, part)).rows
        targets = dict(zip(contexts["user_id"].to_pylist(), contexts["target"].to_pylist(), strict=True))
        column = pa.array([targets[user] for user in rows["user_id"].to_pylist()], schema.TARGET)
        return await super().work(part, rows.append_column("target", column), earlier)

    def asked(self, part: str, rows: pa.Table) -> Iterable[Key]:
        """A row for every text and sample, also of users without a prediction."""
        return [(row["user_id"], text, sample) for row in rows.to_pylist() for text, _, sample in self._cases(row)]

    def rows_of(self, rows: pa.Table) -> Sequence[ModelRow]:
        """One row a text and a sample; where there is no text, no call is made."""
        return [
            ModelRow(
                f"{row['user_id']}\0{text}\0{sample}",
                partial(self._judge, row, judged),
                {"user_id": row["user_id"], "text": text, "sample": sample},
            )
            for row in rows.to_pylist()
            for text, judged, sample in self._cases(row)
        ]

    def facts(self, rows: pa.Table) -> Facts:
        """Besides the calls: what could not be read, and what is reported of every judged text."""
        by_text = score_facts(rows)
        unreadable = sum(count for name, count in by_text.items() if name.startswith("unreadable:"))
        return {**super().facts(rows), **by_text, "unreadable": unreadable}

    def _cases(self, row: Row) -> Iterable[tuple[str, str | None, int]]:
        """The texts that are judged of a user: their names, the texts, and the numbers of the samples."""
        return [(PREDICTION, row["prediction"], sample) for sample in range(self.samples)]

    async def _judge(self, row: Row, judged: str | None, ask: RowCaller) -> Row:
        if judged is None:
            return {}
        how = self.asked_how
        prompt = self.prompts.judgement(how.rubric, how.scale.labels, row["target"], row["reference"], judged)
        return await judgement(prompt, how, ask)


async def judgement(prompt: Prompt, how: Asked, ask: RowCaller) -> Row:
    """The columns of one answer: its score, and what probabilities expect where that is asked.

    A judge that thinks is asked freely first. Where its own answer cannot be read, it is asked again for a label
    alone, with what it said before it.

    Raises:
        UnusableReply: the answer cannot be read. It is missing, never 0.
    """
    answer = None
    if how.thinks_first:
        thinking, answer = await ask.think("judge", prompt)
        prompt = prompt.after("\n\n".join(said for said in (thinking, answer) if said) or "…")
    expected = await _expected(prompt, how, ask) if how.expected else None
    if answer is None or how.scale.read(answer) is None:
        answer = await ask.choose("judge", prompt, how.scale.labels, how.answer_tokens)
    score = how.scale.read(answer)
    if score is None:
        raise UnusableReply(f"the judge's answer is no score: {answer[:100]!r}", {"answer": answer})
    if expected is None:
        return {"answer": answer, "score": score}
    return {"answer": answer, "score": score, "expected": expected.score, "format_trust": expected.format_trust}


async def _expected(prompt: Prompt, how: Asked, ask: RowCaller) -> Expected | None:
    """What the probabilities of the first token say, asked for without the constraint; None where there are none."""
    logprobs = await ask.first_tokens("judge", prompt, LIKELIEST_TOKENS)
    return how.scale.expected(logprobs) if logprobs is not None else None


def thinks_first(model: Model) -> bool:
    """Whether a judge thinks before it answers: the job says so, its chat template is told to, or its name does."""
    if model.thinking != "auto":
        return model.thinking == "always"
    is_told = any(model.chat_template_kwargs.get(name) is True for name in ("enable_thinking", "thinking"))
    return is_told or ALWAYS_THINKS.search(model.id) is not None


def judgement_stage(name: str) -> Stage:
    """The stage of one judge."""
    return Stage(
        stage_name(name),
        version=1,
        # The first input names the parts; the contexts have what was to be written about.
        inputs=after("predictions", "contexts"),
        settings=partial(_settings, name),
        resources=partial(_resources, name),
        make=partial(_make, name),
        rows_each=lambda spec: spec.config.evaluation.judge[name].samples,
        only_evaluates=True,
    )


def stage_name(judge: str) -> str:
    """The name of a judge's stage."""
    return STAGE if judge == ONE_JUDGE else f"{STAGE}-{judge}"


def judge_of(stage: str) -> str | None:
    """The judge whose stage this is; None for the stages that are no judge's."""
    base, _, name = stage.partition("-")
    return (name or ONE_JUDGE) if base == STAGE else None


def _spec_of(name: str, spec: JobSpec) -> tuple[JobSpec, Judge]:
    """The job in which this judge's model plays the role `judge`, and the judge's settings."""
    judge = spec.config.evaluation.judge[name]
    if judge.model is None:
        return spec, judge
    roles = spec.config.roles.model_copy(update={"judge": judge.model})
    return replace(spec, config=spec.config.model_copy(update={"roles": roles})), judge


def _programme(judge: Judge) -> Programme:
    asks: Mapping[Role, Templates] = {"judge": JUDGEMENT._replace(system=judge.rubric)}
    return Programme("judge", 1, asks)


def _settings(name: str, spec: JobSpec) -> dict[str, Any]:
    spec, judge = _spec_of(name, spec)
    spec.prompts.check_rubric(judge.rubric)
    chosen = {"samples": judge.samples, "expected": judge.expected, "scale": judge.labels_are}
    return {**asking_settings(spec, _programme(judge)), **chosen}


def _resources(name: str, spec: JobSpec) -> Resources:
    spec, judge = _spec_of(name, spec)
    return asking_resources(spec, _programme(judge))


def _make(name: str, context: StageContext) -> JudgeTexts:
    spec, judge = _spec_of(name, context.spec)
    context = replace(context, spec=spec)
    model = spec.config.models[spec.config.model_of("judge")]
    longest = spec.config.sampling.of("judge").max_tokens
    how = Asked(
        judge.rubric,
        SCALES[judge.labels_are],
        judge.expected,
        thinks_first(model),
        min(longest, ANSWER_TOKENS) if model.engine == "vllm" else longest,
    )
    return JudgeTexts(
        **asking_arguments(context, stage_name(name), _programme(judge)),
        prompts=spec.prompts,
        contexts=context.folders["contexts"],
        asked_how=how,
        samples=judge.samples,
    )


JUDGEMENTS = replace(
    judgement_stage(ONE_JUDGE),
    variants=lambda spec: tuple(judgement_stage(name) for name in spec.config.evaluation.judge),
)
