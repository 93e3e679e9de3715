"""Answers the rows of a part with language models: rows and their calls run concurrently, and none fails its part.

A row's work is an async function that asks roles as often as it likes. Here are the things that it need not
know: prompts that do not fit, thinking that never ends, replies that cannot be used, engines that die.
"""

import asyncio
import hashlib
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from drp_ray.engines import make_engine
from drp_ray.engines.base import (
    Completion,
    Engine,
    EngineDied,
    Message,
    ModelSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from drp_ray.llm.replies import UnfinishedThinking, UnusableReply, strip_thinking
from drp_ray.prompts.prompt import Prompt
from drp_ray.running.worker import Worker
from drp_ray.storage.parts import Facts

Row = dict[str, Any]
CROWD = 16
"""Rows that may run together after the engine died once with all of them; after a second death a row runs alone."""

DEATHS_OF_A_ROW = 3
"""Engine deaths after which a row that was in flight each time, the last time alone, becomes an error row."""


SUMMED = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "thinking_tokens",
    "unfinished_thinking",
    "truncated",
)
"""The call columns that a part's facts add up."""


class RowFailed(Exception):
    """A row cannot be answered; the message is its error."""


@dataclass(frozen=True)
class RoleSpec:
    """Which model plays a role and how it is asked."""

    model: str
    sampling: Sampling
    system_prompt: str = "keep"


@dataclass(frozen=True)
class ModelRow:
    """How a stage asks about one row: `answer` makes the columns of its result, `blank` those of an error row."""

    key: str
    answer: Callable[["RowCaller"], Awaitable[Row]]
    blank: Row


@dataclass
class RowCaller:
    """Asks on behalf of one row and keeps its accounts. This is the `Ask` of methods."""

    key: str
    roles: Mapping[str, RoleSpec]
    engines: Mapping[str, Engine]
    seed: int
    attempt: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int = 0
    unfinished_thinking: int = 0
    seeds: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    truncated: bool = False

    async def __call__(self, role: str, prompt: Prompt) -> str:
        """Ask the model that plays a role; thinking is removed from its answer.

        Thinking that ran into the length limit is asked for again once, with twice the budget.

        Raises:
            RowFailed: the prompt does not fit however short, the engine refuses, or the thinking never ends.
            EngineDied: the engine is gone, which is nobody's fault yet.
        """
        spec = self.roles[role]
        sampling = replace(spec.sampling, seed=self._seed(role))
        completion = await self._complete(spec, prompt, sampling)
        try:
            return self._without_thinking(completion)
        except UnfinishedThinking:
            budget = self._twice_the_budget(spec, sampling, completion)
        completion = await self._complete(spec, prompt, replace(sampling, max_tokens=budget))
        try:
            return self._without_thinking(completion)
        except UnfinishedThinking as error:
            raise RowFailed(f"{role}: the thinking did not end within {budget} tokens") from error

    def columns(self) -> Row:
        """The call columns that this object counts."""
        counted = ("prompt_tokens", "cached_tokens", "completion_tokens", "thinking_tokens", "unfinished_thinking")
        return {name: getattr(self, name) for name in (*counted, "finish_reason", "truncated", "seeds")}

    async def _complete(self, spec: RoleSpec, prompt: Prompt, sampling: Sampling) -> Completion:
        engine = self.engines[spec.model]
        shorter: Prompt | None = prompt
        while shorter is not None:
            try:
                completion = await engine.complete(_merged(shorter.messages(), spec), sampling)
            except PromptTooLong as error:
                self.truncated, too_long = True, str(error)
                shorter = shorter.shorter()
            except RequestRefused as error:
                raise RowFailed(f"refused by the engine: {error}") from error
            else:
                self._account(completion, sampling, engine)
                return completion
        raise RowFailed(f"too long even without what may be left out: {too_long}")

    def _account(self, completion: Completion, sampling: Sampling, engine: Engine) -> None:
        self.prompt_tokens += completion.prompt_tokens
        self.cached_tokens += completion.cached_tokens
        self.completion_tokens += completion.completion_tokens
        self.finish_reason = completion.finish_reason
        if engine.honours_seed and sampling.seed is not None:
            self.seeds.append(sampling.seed)

    def _without_thinking(self, completion: Completion) -> str:
        """Strip the thinking and count it, by its share of the reply's characters."""
        try:
            answer, thinking = strip_thinking(completion.text)
        except UnfinishedThinking:
            self.thinking_tokens += completion.completion_tokens
            self.unfinished_thinking += 1
            raise
        share = len(thinking) / max(len(completion.text), 1)
        self.thinking_tokens += round(completion.completion_tokens * share)
        return answer

    def _twice_the_budget(self, spec: RoleSpec, sampling: Sampling, completion: Completion) -> int:
        limit = self.engines[spec.model].context_length
        budget = 2 * sampling.max_tokens
        return budget if limit is None else min(budget, limit - completion.prompt_tokens)

    def _seed(self, role: str) -> int:
        """A seed of this run, row, role and attempt, so that a row is drawn the same wherever it runs."""
        told = f"{self.seed}\0{self.key}\0{role}\0{self.attempt}"
        return int.from_bytes(hashlib.sha256(told.encode()).digest()[:4]) >> 1


def _merged(messages: list[Message], spec: RoleSpec) -> list[Message]:
    """Put the system message into the user message for models that want none."""
    if spec.system_prompt == "keep":
        return messages
    system, user, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]


@dataclass
class ModelWorker(Worker):
    """A worker that answers rows. A stage derives from it and says what a row asks (`rows_of`)."""

    models: Mapping[str, ModelSpec]
    roles: Mapping[str, RoleSpec]
    seed: int
    max_attempts: int
    _engines: dict[str, "LiveEngine"] = field(default_factory=dict, init=False, repr=False)

    @abstractmethod
    def rows_of(self, rows: pa.Table) -> Sequence[ModelRow]:
        """What each row of an input part asks."""

    async def start(self, count: Callable[..., None]) -> None:
        """Load the models."""
        self._count = count
        for name, spec in self.models.items():
            self._engines[name] = LiveEngine(spec)
            await self._engines[name].start()
        self._seats = Seats(min(engine.concurrency for engine in self._engines.values()))

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Answer all rows of a part, or those that had errors earlier."""
        kept = _answered(earlier, self.keys)
        before = _attempts(earlier, self.keys)
        asked = [row for row in self.rows_of(rows) if self._key(row) not in kept]
        self._count(rows=len(kept))
        answered = await asyncio.gather(*(self._answer(row, before.get(self._key(row), 0)) for row in asked))
        done = {**kept, **{self._key(row): result for row, result in zip(asked, answered, strict=True)}}
        return pa.Table.from_pylist([done[self._key(row)] for row in self.rows_of(rows)], self.schema)

    def facts(self, rows: pa.Table) -> Facts:
        """Error rows, tokens and what went wrong on the way."""
        facts: Facts = {"errors": rows["status"].to_pylist().count("error")}
        for name in SUMMED:
            facts[name] = sum(int(value) for value in rows[name].to_pylist())
        return facts

    async def close(self) -> None:
        """Stop the engines."""
        for engine in self._engines.values():
            await engine.close()

    def _key(self, row: ModelRow) -> tuple[Any, ...]:
        return tuple(row.blank[name] for name in self.keys)

    async def _answer(self, row: ModelRow, attempts_before: int) -> Row:
        """Try a row until its replies can be used, its attempts are spent or it has killed too many engines."""
        caller = RowCaller(row.key, self.roles, self._engines, self.seed)
        error, unusable, deaths = "", 0, 0
        while unusable < self.max_attempts and deaths < DEATHS_OF_A_ROW:
            caller.attempt = attempts_before + unusable + deaths
            try:
                async with self._seats.taken(self._weight(deaths)), self._in_flight():
                    return self._result(row, caller, await row.answer(caller))
            except RowFailed as failure:
                return self._result(row, caller, None, str(failure))
            except UnusableReply as failure:
                unusable, error = unusable + 1, f"no usable reply: {failure}"
            except EngineDied as failure:
                deaths, error = deaths + 1, f"the engine died over this row: {failure}"
        return self._result(row, caller, None, error)

    def _weight(self, deaths: int) -> int:
        """How many seats a row takes: after deaths, more of the engine is left empty around a suspect."""
        return (1, -(-self._seats.total // CROWD), self._seats.total)[min(deaths, 2)]

    @asynccontextmanager
    async def _in_flight(self) -> AsyncIterator[None]:
        self._count(in_flight=1)
        try:
            yield
        finally:
            self._count(in_flight=-1)

    def _result(self, row: ModelRow, caller: RowCaller, columns: Row | None, error: str | None = None) -> Row:
        self._count(rows=1, errors=int(error is not None), **_token_counts(caller))
        status = "ok" if error is None else "error"
        accounts = {**caller.columns(), "attempts": caller.attempt + 1, "status": status, "error": error}
        return {**row.blank, **(columns or {}), **accounts}


def _token_counts(caller: RowCaller) -> dict[str, float]:
    return {name: getattr(caller, name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")}


def _answered(earlier: pa.Table | None, keys: Sequence[str]) -> dict[tuple[Any, ...], Row]:
    rows = earlier.to_pylist() if earlier is not None else []
    return {tuple(row[name] for name in keys): row for row in rows if row["status"] == "ok"}


def _attempts(earlier: pa.Table | None, keys: Sequence[str]) -> dict[tuple[Any, ...], int]:
    rows = earlier.to_pylist() if earlier is not None else []
    return {tuple(row[name] for name in keys): row["attempts"] for row in rows}


class LiveEngine:
    """An engine that is started again when it dies. It has the interface of one."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec, self._engine = spec, make_engine(spec)
        self._restarting = asyncio.Lock()

    async def start(self) -> None:
        """Load the model for the first time."""
        await self._engine.start()

    @property
    def concurrency(self) -> int:
        """Calls worth having in flight."""
        return self._engine.concurrency

    @property
    def context_length(self) -> int | None:
        """Tokens that prompt and completion may fill together."""
        return self._engine.context_length

    @property
    def honours_seed(self) -> bool:
        """Whether seeds are passed on."""
        return self._engine.honours_seed

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer one chat; where the engine dies over it, a new one is up before `EngineDied` is raised."""
        async with self._restarting:
            engine = self._engine
        try:
            return await engine.complete(messages, sampling)
        except EngineDied:
            await self._replace(engine)
            raise

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()

    async def _replace(self, dead: Engine) -> None:
        async with self._restarting:
            if self._engine is not dead:
                return
            await dead.close()
            engine = make_engine(self._spec)
            await engine.start()
            self._engine = engine


class Seats:
    """A semaphore whose holders may take several places; first come, first served."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, weight: int) -> AsyncIterator[None]:
        """Hold `weight` places, at most all of them."""
        weight = min(weight, self.total)
        await self._take(weight)
        try:
            yield
        finally:
            self._free += weight
            self._seat_waiting()

    async def _take(self, weight: int) -> None:
        seated: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((weight, seated))
        self._seat_waiting()
        try:
            await seated
        except asyncio.CancelledError:
            self._forget(weight, seated)
            raise

    def _seat_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            weight, seated = self._waiting.popleft()
            if not seated.cancelled():
                self._free -= weight
                seated.set_result(None)

    def _forget(self, weight: int, seated: "asyncio.Future[None]") -> None:
        if seated.done() and not seated.cancelled():
            self._free += weight
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not seated)
        self._seat_waiting()
