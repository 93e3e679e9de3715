"""Asks language models on behalf of one row, and keeps the row's accounts.

Here is what a row's work need not know of: prompts that do not fit, and thinking that never ends.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from drp_ray.engines.base import Completion, Engine, Message, PromptTooLong, RequestRefused, Sampling
from drp_ray.llm.replies import Thinking, UnfinishedThinking, UnusableReply, split_marker, strip_thinking
from drp_ray.prompts.control_strings import holds_broken, restored
from drp_ray.prompts.prompt import Prompt


class RowFailed(Exception):
    """A row cannot be answered; the message is its error."""


@dataclass(frozen=True)
class RoleSpec:
    """Which model plays a role and how it is asked."""

    model: str
    sampling: Sampling
    system_prompt: str = "keep"
    thinking: Thinking = "auto"


@dataclass
class Accounts:
    """What the calls of one row cost: the call columns of `schema` that are counted."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int = 0
    unfinished_thinking: int = 0
    cut_off: int = 0
    preambles: int = 0
    finish_reason: str | None = None
    truncated: bool = False
    seeds: list[int] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """The columns by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


class Exchange(NamedTuple):
    """One call of a row as it may be kept: the role, the messages, the thinking and the answer."""

    role: str
    messages: list[Message]
    thinking: str
    answer: str


@dataclass
class RowCaller:
    """Asks on behalf of one row and keeps its accounts. This is the `Ask` of methods.

    `place` is the row's place among those of its worker. Calls of an earlier row go before those of a later one that
    wait: a row's next call begins with the tokens of the call before, which the engine still has in its cache then.
    """

    key: str
    roles: Mapping[str, RoleSpec]
    engines: Mapping[str, Engine]
    seed: int
    place: int = 0
    accounts: Accounts = field(default_factory=Accounts)
    exchanges: list[Exchange] = field(default_factory=list)
    broke_control_strings: bool = False
    """Whether a prompt held strings that mark turns or thinking, which were broken (`prompts.control_strings`)."""

    _attempt: int = 0
    _calls: int = 0

    def begin(self, attempt: int) -> None:
        """Start the row's work anew; `attempt` counts from 0 over all runs."""
        self._attempt, self._calls = attempt, 0
        self.exchanges.clear()

    async def __call__(self, role: str, prompt: Prompt, marker: str | None = None) -> str:
        """Ask the model that plays a role; its thinking, a marker and what stands before that are removed.

        Thinking that ran into the length limit is asked for again once, with twice the budget.

        Raises:
            RowFailed: the prompt does not fit however short, the engine refuses, or the thinking never ends.
            UnusableReply: nothing is left of the answer, or its thinking stopped without an end.
            CallGivenUp: the endpoint did not answer this call.
            EngineDied: the engine is gone, which is nobody's fault yet.
        """
        messages, thinking, answer = await self._answer_after_thinking(role, prompt)
        preamble, answer = split_marker(answer, marker) if marker else ("", answer)
        answer = restored(answer)
        self.accounts.preambles += bool(preamble)
        if not answer:
            raise UnusableReply(f"{role}: the reply is empty{f' after [{marker}]:' if marker else ''}")
        self.exchanges.append(Exchange(role, messages, thinking, answer))
        return answer

    async def think(self, role: str, prompt: Prompt) -> tuple[str, str]:
        """Let a model think and answer freely: its thinking and its answer, either of which may be empty.

        Raises:
            RowFailed: as a plain call.
            UnusableReply: its thinking stopped without an end.
        """
        messages, thinking, answer = await self._answer_after_thinking(role, prompt)
        answer = restored(answer)
        self.exchanges.append(Exchange(role, messages, thinking, answer))
        return thinking, answer

    async def choose(self, role: str, prompt: Prompt, choices: Sequence[str], max_tokens: int) -> str:
        """Ask for one of `choices` at once; what comes back is one of them only where the engine can see to that.

        Raises:
            RowFailed: as a plain call.
        """
        spec = self.roles[role]
        changes = {"seed": self._next_seed(role), "choices": tuple(choices), "max_tokens": max_tokens}
        completion, messages = await self._complete(spec, prompt, spec.sampling.model_copy(update=changes))
        try:
            thinking, answer = self._parted(completion, replace(spec, thinking="auto"))
        except UnfinishedThinking:
            thinking, answer = "", completion.text
        self.exchanges.append(Exchange(role, messages, thinking, answer))
        return answer

    async def first_tokens(self, role: str, prompt: Prompt, count: int) -> Mapping[str, float] | None:
        """The `count` likeliest first tokens of a free answer, with the logarithms of their probabilities.

        Raises:
            RowFailed: as a plain call.
        """
        spec = self.roles[role]
        changes = {"seed": self._next_seed(role), "logprobs": count, "max_tokens": 1}
        completion, _ = await self._complete(spec, prompt, spec.sampling.model_copy(update=changes))
        return completion.logprobs

    async def _answer_after_thinking(self, role: str, prompt: Prompt) -> tuple[list[Message], str, str]:
        """The messages that were sent, the thinking and the answer."""
        spec = self.roles[role]
        sampling = spec.sampling.model_copy(update={"seed": self._next_seed(role)})
        completion, messages = await self._complete(spec, prompt, sampling)
        try:
            return messages, *self._parted(completion, spec)
        except UnfinishedThinking as error:
            if completion.finish_reason != "length":
                raise UnusableReply(f"{role}: {error}") from error
        budget = self._twice_the_budget(spec, sampling, completion)
        if budget <= sampling.max_tokens:  # the same call again would end alike
            raise RowFailed(f"{role}: the thinking did not end within {sampling.max_tokens} tokens, and no more fit")
        completion, messages = await self._complete(spec, prompt, sampling.model_copy(update={"max_tokens": budget}))
        try:
            return messages, *self._parted(completion, spec)
        except UnfinishedThinking as error:
            raise RowFailed(f"{role}: the thinking did not end within {budget} tokens") from error

    async def _complete(self, spec: RoleSpec, prompt: Prompt, sampling: Sampling) -> tuple[Completion, list[Message]]:
        engine, sampling = self.engines[spec.model], sampling.model_copy(update={"priority": self.place})
        shorter: Prompt | None = prompt
        while shorter is not None:
            messages = _merged(shorter.messages_for_model(), spec)
            self.broke_control_strings |= any(holds_broken(message["content"]) for message in messages)
            try:
                completion = await engine.complete(messages, sampling)
            except PromptTooLong as error:
                self.accounts.truncated, too_long = True, str(error)
                shorter = shorter.shorter()
            except RequestRefused as error:
                raise RowFailed(f"refused by the engine: {error}") from error
            else:
                self._count(completion, sampling, engine)
                return completion, messages
        raise RowFailed(f"too long even without what may be left out: {too_long}")

    def _count(self, completion: Completion, sampling: Sampling, engine: Engine) -> None:
        self.accounts.prompt_tokens += completion.prompt_tokens
        self.accounts.cached_tokens += completion.cached_tokens
        self.accounts.completion_tokens += completion.completion_tokens
        self.accounts.finish_reason = completion.finish_reason
        # One token is all that a question for probabilities wants.
        self.accounts.cut_off += completion.finish_reason == "length" and sampling.logprobs is None
        if engine.honours_seed and sampling.seed is not None:
            self.accounts.seeds.append(sampling.seed)

    def _parted(self, completion: Completion, spec: RoleSpec) -> tuple[str, str]:
        """Thinking, which is counted by its share of the reply's characters, and answer."""
        try:
            answer, thinking = strip_thinking(completion.text, spec.thinking)
        except UnfinishedThinking:
            self.accounts.thinking_tokens += completion.completion_tokens
            self.accounts.unfinished_thinking += 1
            raise
        share = len(thinking) / max(len(completion.text), 1)
        self.accounts.thinking_tokens += round(completion.completion_tokens * share)
        return thinking, answer

    def _twice_the_budget(self, spec: RoleSpec, sampling: Sampling, completion: Completion) -> int:
        limit = self.engines[spec.model].context_length
        budget = 2 * sampling.max_tokens
        return budget if limit is None else min(budget, limit - completion.prompt_tokens)

    def _next_seed(self, role: str) -> int:
        """A seed of this run, row, role, attempt and call, so that a row is drawn the same wherever it runs."""
        self._calls += 1
        drawn_for = f"{self.seed}\0{self.key}\0{role}\0{self._attempt}\0{self._calls}"
        return int.from_bytes(hashlib.sha256(drawn_for.encode()).digest()[:4]) >> 1


def _merged(messages: list[Message], spec: RoleSpec) -> list[Message]:
    """Put the system message into the user message for models that want none."""
    if spec.system_prompt == "keep":
        return messages
    system, user, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]
