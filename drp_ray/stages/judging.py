"""What the stages of judges share: how a judge is asked about a text, and what is read of its answer.

A stage says which texts of a user are judged. Every judge of a job has stages of its own (`judgements-NAME` for one
that is not named `judge`), so a judge that is added later asks no other judge's calls again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, ClassVar

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import ONE_JUDGE, Judge, Model, Role
from drp_ray.evaluation.judge import score_facts
from drp_ray.evaluation.scale import SCALES, Expected, Scale
from drp_ray.llm.model_worker import ModelRow, ModelWorker, call_facts
from drp_ray.llm.replies import UnusableReply
from drp_ray.llm.row_caller import RowCaller
from drp_ray.methods.base import Programme
from drp_ray.prompts.pack import JUDGEMENT, PromptPack
from drp_ray.prompts.prompt import Prompt, Templates
from drp_ray.running.worker import Key
from drp_ray.schema import Row
from drp_ray.stages.asking import ALWAYS_THINKS, asking_arguments, asking_resources, asking_settings
from drp_ray.stages.stage import JobSpec, Resources, StageContext, base_name
from drp_ray.storage.parts import Facts

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


def judgement_facts(rows: pa.Table) -> Facts:
    """Besides the calls: what could not be read, and what is reported of every judged text."""
    by_text = score_facts(rows)
    unreadable = sum(count for name, count in by_text.items() if name.startswith("unreadable:"))
    return {**call_facts(rows), **by_text, "unreadable": unreadable}


@dataclass
class JudgeTexts(ModelWorker):
    """Lets a judge answer on every text of every user, `samples` times.

    A stage derives from it and says which columns have the texts (`texts`); a null is no text. Beside them a row has
    `user_id`, what was to be written about (`target`), and the user's real review of it (`reference`).
    """

    prompts: PromptPack
    asked_how: Asked
    samples: int
    texts: ClassVar[tuple[str, ...]]
    schema = schema.JUDGEMENTS
    keys = ("user_id", "text", "sample")

    def asked(self, part: str, rows: pa.Table) -> Iterable[Key]:
        """A row for every text and sample, also of users who lack the text."""
        cases = list(self._cases())
        return [(user, text, sample) for user in rows["user_id"].to_pylist() for text, sample in cases]

    def rows_of(self, rows: pa.Table) -> Sequence[ModelRow]:
        """One row a text and a sample; where there is no text, no call is made."""
        return [
            ModelRow(
                f"{row['user_id']}\0{text}\0{sample}",
                partial(self._judge, row, row[text]),
                {"user_id": row["user_id"], "text": text, "sample": sample},
            )
            for row in rows.to_pylist()
            for text, sample in self._cases()
        ]

    def facts(self, rows: pa.Table) -> Facts:
        """Besides the calls: what could not be read, and what is reported of every judged text."""
        return {**super().facts(rows), **judgement_facts(rows)}

    def _cases(self) -> Iterable[tuple[str, int]]:
        """What is judged of every user: the names of the texts, and the numbers of the samples."""
        return product(self.texts, range(self.samples))

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
    answer = ""
    if how.thinks_first:
        answer, prompt = await thought(prompt, ask)
    expected = await _expected(prompt, how, ask) if how.expected else None
    if how.scale.read(answer) is None:
        answer = await ask.choose("judge", prompt, how.scale.labels, how.answer_tokens)
    score = how.scale.read(answer)
    if score is None:
        raise UnusableReply(f"the judge's answer is no score: {answer[:100]!r}", {"answer": answer})
    if expected is None:
        return {"answer": answer, "score": score}
    return {"answer": answer, "score": score, "expected": expected.score, "format_trust": expected.format_trust}


async def thought(prompt: Prompt, ask: RowCaller) -> tuple[str, Prompt]:
    """Let a judge think and answer freely: its answer, and the prompt that asks it again after what it said.

    Raises:
        UnusableReply: its thinking stopped without an end.
    """
    thinking, answer = await ask.think("judge", prompt)
    return answer, prompt.after("\n\n".join(said for said in (thinking, answer) if said) or "…")


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


def stage_name(stage: str, judge: str) -> str:
    """The name of a judge's stage: `judgements`, or `judgements-NAME`."""
    return stage if judge == ONE_JUDGE else f"{stage}-{judge}"


def judge_in(stage: str, name: str) -> str | None:
    """The judge whose stage `stage` this name is; None for the names of other stages."""
    return (name.partition("-")[2] or ONE_JUDGE) if base_name(name) == stage else None


def judge_settings(judge: str, spec: JobSpec) -> dict[str, Any]:
    """All that can change the answers of a judge: the same for all texts that it judges."""
    spec, chosen = _spec_of(judge, spec)
    spec.prompts.check_rubric(chosen.rubric)
    of_judge = {"samples": chosen.samples, "expected": chosen.expected, "scale": chosen.labels_are}
    return {**asking_settings(spec, _programme(chosen)), **of_judge}


def judge_resources(judge: str, spec: JobSpec) -> Resources:
    """What a judge needs of the cluster."""
    spec, chosen = _spec_of(judge, spec)
    return asking_resources(spec, _programme(chosen))


def judge_arguments(judge: str, context: StageContext, stage: str) -> dict[str, Any]:
    """The arguments of the `JudgeTexts` of a judge's stage of this name."""
    spec, chosen = _spec_of(judge, context.spec)
    context = replace(context, spec=spec)
    model = spec.config.models[spec.config.model_of("judge")]
    longest = spec.config.sampling.of("judge").max_tokens
    how = Asked(
        chosen.rubric,
        SCALES[chosen.labels_are],
        chosen.expected,
        thinks_first(model),
        min(longest, ANSWER_TOKENS) if model.engine == "vllm" else longest,
    )
    return {
        **asking_arguments(context, stage, _programme(chosen)),
        "prompts": spec.prompts,
        "asked_how": how,
        "samples": chosen.samples,
    }


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
