"""Answers the rows of a part with language models: rows and their calls run concurrently, and none fails its part.

A row's work is an async function that asks roles as often as it likes. Replies that cannot be used and engines that
die are this module's business.
"""

import asyncio
import math
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from drp_ray.engines.base import CallGivenUp, EngineDied, ModelSpec
from drp_ray.errors import BadInput, JobFailed
from drp_ray.llm.kept import KeepSettings
from drp_ray.llm.live_engine import LiveEngine, live_engines
from drp_ray.llm.memory import FORGOTTEN, REPLACED, REUSED, Content, Memory, content_digest
from drp_ray.llm.replies import UnusableReply
from drp_ray.llm.row_caller import Exchange, RoleSpec, RowCaller, RowFailed
from drp_ray.llm.seats import Seats
from drp_ray.running.worker import Key, Worker, keys_of
from drp_ray.schema import CALL_COLUMNS, Row
from drp_ray.storage.parts import Facts

CROWD = 16
"""Rows that may run together after the engine died once with all of them; after a second death a row runs alone."""

DEATHS_OF_A_ROW = 3
"""Engine deaths after which a row that was in flight each time, the last time alone, becomes an error row."""

ROWS_OF_A_BUG = 10
"""Rows that may fail of what nobody foresaw before it counts as a bug, where they are half of all rows or more."""

UNFIT = (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError)
"""What Arrow raises of a value that a column cannot hold."""

SUMMED = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "thinking_tokens",
    "unfinished_thinking",
    "cut_off",
    "preambles",
    "truncated",
)
"""The call columns that a part's facts add up."""

COUNTED = ("prompt_tokens", "cached_tokens", "completion_tokens")
"""The call columns that are reported while a part is under way."""


def call_facts(rows: pa.Table) -> Facts:
    """What the call columns of a part come to: error rows, tokens and what went wrong on the way."""
    facts: Facts = {"errors": rows["status"].to_pylist().count("error")}
    for name in SUMMED:
        facts[name] = sum(int(value) for value in rows[name].to_pylist())
    return facts


@dataclass(frozen=True)
class ModelRow:
    """How a stage asks about one row: `answer` makes the columns of its result, `blank` those of an error row.

    `content` is all that the answer depends on besides the stage's settings, as JSON has it; where it is None, the row
    is never taken over from an earlier folder. What `labels` name is not of the content: columns that `blank` has.
    """

    key: str
    answer: Callable[[RowCaller], Awaitable[Row]]
    blank: Row
    content: Any = None
    labels: tuple[str, ...] = ()


@dataclass
class LoadedModels:
    """Engines that answer, the seats of those who ask them, and how many rows were begun and are not answered yet."""

    engines: dict[str, LiveEngine]
    seats: Seats
    n_begun: int = 0
    n_open: int = 0

    @classmethod
    async def load(cls, models: Mapping[str, ModelSpec]) -> "LoadedModels":
        """Start an engine for every model."""
        engines = live_engines(models)
        for engine in engines.values():
            await engine.start()
        return cls(engines, Seats(min(engine.concurrency for engine in engines.values())))

    async def close(self) -> None:
        """Stop the engines."""
        for engine in self.engines.values():
            await engine.close()


@dataclass
class ModelWorker(Worker):
    """A worker that answers rows. A stage derives from it and says what a row asks (`rows_of`)."""

    carried = (REUSED, *(f"{kind}_{name}" for kind in (REUSED, FORGOTTEN, REPLACED) for name in COUNTED))
    models: Mapping[str, ModelSpec]
    roles: Mapping[str, RoleSpec]
    seed: int
    max_attempts: int
    keep: KeepSettings = field(default_factory=KeepSettings, kw_only=True)
    memory: Memory = field(default_factory=Memory, kw_only=True)
    _loaded: "LoadedModels | None" = field(default=None, init=False, repr=False)
    _exchanges: dict[Key, list[Exchange]] = field(default_factory=dict, init=False, repr=False)
    _finished: int = field(default=0, init=False, repr=False)
    _unforeseen: int = field(default=0, init=False, repr=False)
    _broken: set[Key] = field(default_factory=set, init=False, repr=False)
    _taken: dict[Key, Row] = field(default_factory=dict, init=False, repr=False)
    _replaced: dict[Key, Row] = field(default_factory=dict, init=False, repr=False)

    @abstractmethod
    def rows_of(self, rows: pa.Table) -> Sequence[ModelRow]:
        """What each row of an input part asks."""

    def holds(self) -> Any:
        """The models: stages that ask the same ones may share engines, whatever they ask."""
        return self.models

    def share(self, loaded: Any) -> None:
        """Ask the engines that another worker has started."""
        self._loaded = loaded

    def loaded(self) -> Any:
        """The engines and their seats."""
        return self._loaded

    async def load(self) -> None:
        """Load the models."""
        self._loaded = await LoadedModels.load(self.models)

    async def start(self, count: Callable[..., None]) -> None:
        """Load the models where that was not done, and learn what earlier folders have."""
        self._count = count
        if self._loaded is None:
            await self.load()
        await asyncio.to_thread(self.memory.learn, self._contents)

    @property
    def _ready(self) -> "LoadedModels":
        if self._loaded is None:
            raise RuntimeError("the worker was not started")
        return self._loaded

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Answer all rows of a part, or those that had errors earlier."""
        before = {self._key(row): row for row in earlier.to_pylist()} if earlier is not None else {}
        kept = {key: row for key, row in before.items() if row["status"] == "ok"}
        self._replaced |= {key: row for key, row in before.items() if key not in kept}
        own = set(kept)  # of rows that are taken over from other folders no calls are kept
        wanted = self.rows_of(rows)
        unknown = [row for row in wanted if self._key(row.blank) not in kept]
        self._ready.n_open += len(unknown)  # before anything is awaited: what is under way is never counted as room
        try:
            remembered = await self._remembered(unknown)
            kept |= remembered
            self._ready.n_open -= len(remembered)
            asked = [row for row in unknown if self._key(row.blank) not in remembered]
            self._count(rows=len(kept))
            attempts = [before.get(self._key(row.blank), {"attempts": 0})["attempts"] for row in asked]
            answered = await asyncio.gather(*map(self._answer, asked, attempts))
        except asyncio.CancelledError:  # another worker commits the part; the engines may go on with other stages
            done_with = self._exchanges.keys() | kept.keys()
            self._ready.n_open -= sum(self._key(row.blank) not in done_with for row in unknown)
            raise
        done = {**kept, **{self._key(row): row for row in answered}}
        made = self._table([(row, done[self._key(row.blank)]) for row in wanted])
        exchanges = {self._key(row.blank): self._exchanges.pop(self._key(row.blank), []) for row in asked}
        await asyncio.to_thread(self.keep.write, part, made, self.keys, exchanges, own)
        return made

    def room(self) -> int:
        """The seats that no row takes or waits for."""
        return self._ready.seats.total - self._ready.n_open

    def facts(self, rows: pa.Table) -> Facts:
        """Error rows, tokens, what went wrong on the way, and rows whose prompts held control strings.

        The last are those of the calls that were made now: rows that a repetition takes over are not among them.
        """
        facts = call_facts(rows)
        broken = self._broken.intersection(keys_of(rows, self.keys))
        self._broken -= broken
        facts |= self._facts_of_taken(rows) | self._facts_of_replaced(rows)
        return {**facts, "broken_control_strings": len(broken)} if broken else facts

    async def close(self) -> None:
        """Stop the engines."""
        if self._loaded is not None:
            await self._loaded.close()

    def _key(self, row: Row) -> Key:
        return tuple(row[name] for name in self.keys)

    def _contents(self, rows: pa.Table) -> list[Content]:
        """The contents of an input part's rows, without those that have none."""
        wanted = (row for row in self.rows_of(rows) if row.content is not None)
        return [Content(content_digest(row.key, row.content), self._key(row.blank)) for row in wanted]

    async def _remembered(self, rows: Sequence[ModelRow]) -> dict[Key, Row]:
        """The rows that an earlier folder has, with the labels that they have here."""
        if not self.memory.earlier:
            return {}
        digests = {content_digest(row.key, row.content): row for row in rows if row.content is not None}
        wanted = [Content(digest, self._key(row.blank)) for digest, row in digests.items()]
        found = await asyncio.to_thread(self.memory.rows, wanted, self.keys)
        taken: dict[Key, Row] = {
            self._key(digests[digest].blank): {
                **made,
                **{name: digests[digest].blank[name] for name in digests[digest].labels},
            }
            for digest, made in found.items()
        }
        self._taken |= taken
        return taken

    def _facts_of_taken(self, rows: pa.Table) -> Facts:
        """How many rows were taken over, and their tokens; nothing where none was."""
        taken = [row for key in keys_of(rows, self.keys) if (row := self._taken.pop(key, None)) is not None]
        if not taken:
            return {}
        return {REUSED: len(taken), **{f"{REUSED}_{name}": sum(row[name] for row in taken) for name in COUNTED}}

    def _facts_of_replaced(self, rows: pa.Table) -> Facts:
        """The tokens of error rows that stood where these rows are; nothing where none did."""
        errors = [row for key in keys_of(rows, self.keys) if (row := self._replaced.pop(key, None)) is not None]
        return {f"{REPLACED}_{name}": sum(row[name] for row in errors) for name in COUNTED} if errors else {}

    async def _answer(self, row: ModelRow, attempts_before: int) -> Row:
        """Try a row until its replies can be used, its attempts are spent or it has killed too many engines.

        Raises:
            Exception: what nobody foresaw, where it happens to many rows.
        """
        self._ready.n_begun += 1
        caller = RowCaller(row.key, self.roles, self._ready.engines, self.seed, place=self._ready.n_begun)
        attempt, error, unusable, deaths = attempts_before, "", 0, 0
        unforeseen: Exception | None = None
        said: Row = {}
        while unusable < self.max_attempts and deaths < DEATHS_OF_A_ROW:
            attempt = attempts_before + unusable + deaths
            caller.begin(attempt)
            unforeseen = None
            try:
                async with self._ready.seats.taken(self._weight(deaths)), self._in_flight():
                    columns = await row.answer(caller)
                return self._answered_row(row, caller, attempt, columns)
            except RowFailed as failure:
                return self._error_row(row, caller, attempt, str(failure))
            except UnusableReply as failure:
                unusable, error, said = unusable + 1, f"no usable reply: {failure}", failure.columns
            except CallGivenUp as failure:
                unusable, error, said = unusable + 1, f"the endpoint did not answer: {failure}", {}
            except EngineDied as failure:
                deaths, error, said = deaths + 1, f"the engine died over this row: {failure}", {}
            except (JobFailed, BadInput):
                raise
            except Exception as failure:  # a method's code, or ours, met what nobody foresaw
                unforeseen = failure
                unusable, error, said = unusable + 1, named(failure), {}
        if unforeseen is not None:
            self._count_unforeseen(unforeseen)
        return self._error_row(row, caller, attempt, error, said)

    def _count_unforeseen(self, failure: Exception) -> None:
        """Note a row that failed of what nobody foresaw; raise that where it fails most rows: it is a bug."""
        self._unforeseen += 1
        if self._unforeseen >= ROWS_OF_A_BUG and 2 * self._unforeseen > self._finished:
            failure.add_note(f"{self._unforeseen} of {self._finished + 1} rows failed of this or another such error")
            raise failure

    def _table(self, rows: Sequence[tuple[ModelRow, Row]]) -> pa.Table:
        """The rows of a part; a row whose values do not fit the schema becomes an error row."""
        try:
            return pa.Table.from_pylist([made for _, made in rows], self.schema)
        except UNFIT:
            return pa.concat_tables([self._fitting(row, made) for row, made in rows])

    def _fitting(self, row: ModelRow, made: Row) -> pa.Table:
        try:
            return pa.Table.from_pylist([made], self.schema)
        except UNFIT as failure:
            self._count(errors=1)
            self._count_unforeseen(failure)
            calls = {column.name: made.get(column.name) for column in CALL_COLUMNS}
            error = {**row.blank, **calls, "status": "error", "error": named(failure)}
            return pa.Table.from_pylist([error], self.schema)

    def _weight(self, deaths: int) -> int:
        """How many seats a row takes: after deaths, more of the engine is left empty around a suspect."""
        if deaths == 0:
            return 1
        return math.ceil(self._ready.seats.total / CROWD) if deaths == 1 else self._ready.seats.total

    @asynccontextmanager
    async def _in_flight(self) -> AsyncIterator[None]:
        self._count(in_flight=1)
        try:
            yield
        finally:
            self._count(in_flight=-1)

    def _answered_row(self, row: ModelRow, caller: RowCaller, attempt: int, columns: Row) -> Row:
        return self._finished_row(row, caller, attempt, {**columns, "status": "ok", "error": None})

    def _error_row(self, row: ModelRow, caller: RowCaller, attempt: int, error: str, said: Row | None = None) -> Row:
        return self._finished_row(row, caller, attempt, {**(said or {}), "status": "error", "error": as_text(error)})

    def _finished_row(self, row: ModelRow, caller: RowCaller, attempt: int, columns: Row) -> Row:
        accounts = caller.accounts.columns()
        is_error = columns["status"] == "error"
        self._finished += 1
        self._ready.n_open -= 1
        self._count(rows=1, errors=int(is_error), **{name: accounts[name] for name in COUNTED})
        self._exchanges[self._key(row.blank)] = caller.exchanges
        if caller.broke_control_strings:
            self._broken.add(self._key(row.blank))
        return {**row.blank, **accounts, **columns, "attempts": attempt + 1}


def named(failure: Exception) -> str:
    """A failure by its class and message."""
    return as_text(f"{type(failure).__name__}: {failure}")


def as_text(message: str) -> str:
    """A message that can be written: a lone surrogate in it is shown, not stored."""
    return message.encode("utf-8", "backslashreplace").decode()
