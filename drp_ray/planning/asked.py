"""Runs the work of rows as a run does, on engines that only count, or on real ones, and keeps what every call cost."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from drp_ray.engines.base import (
    CallGivenUp,
    Completion,
    Engine,
    EngineDied,
    Message,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from drp_ray.errors import BadInput, JobFailed
from drp_ray.llm.model_worker import ModelRow, ModelWorker, named
from drp_ray.llm.replies import UnusableReply
from drp_ray.llm.row_caller import RowCaller, RowFailed
from drp_ray.planning.tokens import Tokenizer, Tokens
from drp_ray.schema import Row


class Call(NamedTuple):
    """What a call cost, in tokens; `output_limit` is what the reply could have had, `text` what it said."""

    role: str
    model: str
    prompt: int
    cached: int
    output: int
    output_limit: int
    text: str = ""
    is_free: bool = True
    """Whether the model wrote as it liked: not one of given choices, nor a single token."""


class Reply(NamedTuple):
    """A reply that a model may give, and what it costs."""

    text: str
    tokens: int


@dataclass
class PrefixCache:
    """Which beginnings of prompts have been seen, in whole blocks; nothing is ever evicted."""

    seen: set[int] = field(default_factory=set)

    def take(self, tokens: Tokens, block: int) -> int:
        """How many of a prompt's tokens are cached; the prompt is seen from now on."""
        if not block:
            return 0
        chain, cached, is_hit = 0, 0, True
        for start in range(0, len(tokens) - block + 1, block):
            chain = hash((chain, tuple(tokens[start : start + block])))
            is_hit = is_hit and chain in self.seen
            # The last token is computed in any case: the reply begins with it.
            cached += block if is_hit and start + block < len(tokens) else 0
            self.seen.add(chain)
        return cached


@dataclass
class CountingEngine:
    """An engine for one row and role that counts tokens and replies with what it is given; nothing is generated."""

    role: str
    model: str
    key: str
    tokenizer: Tokenizer
    cache: PrefixCache
    replies: Sequence[Reply]
    context_length: int | None
    calls: list[Call]
    most_calls: int | None = None
    """Calls after which it refuses, for a row whose first prompts are all that matters."""

    concurrency: int = 1
    honours_seed: bool = True

    async def start(self) -> None:
        """Nothing is loaded."""

    async def close(self) -> None:
        """Nothing is held."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Count a chat.

        Raises:
            PromptTooLong: as the real engine.
            RequestRefused: it was asked as often as was wanted.
        """
        if len(self.calls) == self.most_calls:
            raise RequestRefused("nothing more is asked")
        tokens = self.tokenizer.of_chat(messages)
        if self.context_length is not None and len(tokens) + sampling.max_tokens > self.context_length:
            raise PromptTooLong(f"{len(tokens)} tokens")
        reply = self._reply(sampling)
        cached = self.cache.take(tokens, self.tokenizer.block)
        limit = sampling.max_tokens
        cost = Call(
            self.role, self.model, len(tokens), cached, reply.tokens, limit, is_free=not sampling.answers_at_once
        )
        self.calls.append(cost)
        logprobs: dict[str, float] | None = {} if sampling.logprobs is not None else None
        return Completion(reply.text, "stop", len(tokens), cached, reply.tokens, logprobs)

    def _reply(self, sampling: Sampling) -> Reply:
        if sampling.logprobs is not None:
            return Reply("", 1)
        draw = int.from_bytes(
            hashlib.sha256(f"{self.key}\0{self.role}\0{len(self.calls)}".encode()).digest()[:6], "big"
        )
        if sampling.choices:
            choice = sampling.choices[draw % len(sampling.choices)]
            return Reply(choice, min(len(self.tokenizer.of_text(choice)) + 1, sampling.max_tokens))
        reply = self.replies[draw % len(self.replies)]
        return reply._replace(tokens=min(reply.tokens, sampling.max_tokens))


@dataclass
class Tries:
    """How many calls a stage made to each model, answered or not, and what the first one to fail said."""

    made: Counter[str] = field(default_factory=Counter)
    first_failure: dict[str, str] = field(default_factory=dict)


@dataclass
class RecordingEngine:
    """A real engine, for one row and role: what every call costs is kept."""

    role: str
    model: str
    engine: Engine
    calls: list[Call]
    tries: Tries

    @property
    def concurrency(self) -> int:
        """That of the engine."""
        return self.engine.concurrency

    @property
    def context_length(self) -> int | None:
        """That of the engine."""
        return self.engine.context_length

    @property
    def honours_seed(self) -> bool:
        """That of the engine."""
        return self.engine.honours_seed

    async def start(self) -> None:
        """The engine is started by whoever owns it."""

    async def close(self) -> None:
        """The engine is closed by whoever owns it."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Ask the engine."""
        self.tries.made[self.model] += 1
        try:
            said = await self.engine.complete(messages, sampling)
        except Exception as failure:
            self.tries.first_failure.setdefault(self.model, named(failure))
            raise
        cost = said.prompt_tokens, said.cached_tokens, said.completion_tokens, sampling.max_tokens
        self.calls.append(Call(self.role, self.model, *cost, said.text, not sampling.answers_at_once))
        return said


async def made_row(
    row: ModelRow, worker: ModelWorker, engines: Mapping[str, Engine], unforeseen: list[Exception] | None = None
) -> Row:
    """What a row comes to when it is tried once; `engines` has one for each role.

    What nobody foresaw costs the row, as in a run, and is added to `unforeseen`.
    """
    roles = {role: replace(spec, model=role) for role, spec in worker.roles.items()}
    caller = RowCaller(row.key, roles, engines, worker.seed)
    caller.begin(0)
    try:
        columns = {**await row.answer(caller), "status": "ok", "error": None}
    except (RowFailed, UnusableReply, CallGivenUp, EngineDied) as failure:
        columns = {"status": "error", "error": str(failure)}
    except (JobFailed, BadInput):
        raise
    except Exception as failure:
        columns = {"status": "error", "error": named(failure)}
        if unforeseen is not None:
            unforeseen.append(failure)
    return {**row.blank, **caller.accounts.columns(), **columns, "attempts": 1}
