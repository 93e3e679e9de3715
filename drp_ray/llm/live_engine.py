"""An engine that is started again when it dies."""

import asyncio
import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from drp_ray.engines import make_engine
from drp_ray.engines.base import (
    CallGivenUp,
    Completion,
    EndpointRefuses,
    Engine,
    EngineDied,
    Message,
    ModelNotLoaded,
    ModelSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from drp_ray.engines.gpus import on_their_gpus

MAX_GIVEN_UP_IN_A_ROW = 50
"""Calls that an endpoint may leave without an answer, none answered between them, before the job stops."""


MAX_DEATHS_IN_A_ROW = 10
"""Engines that may die with no call answered between them before it is looked whether the model answers at all."""


def _encodable(text: str) -> str:
    text.encode()
    return text


class _Answer(BaseModel):
    """A completion whose values are what `Completion` says, also of an engine that somebody else wrote."""

    model_config = ConfigDict(from_attributes=True)

    text: Annotated[str, AfterValidator(_encodable)]
    finish_reason: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    logprobs: dict[str, float] | None = None


class LiveEngine:
    """An engine that is started again when it dies. It has the interface of one."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec, self._engine = spec, make_engine(spec)
        self._restarting = asyncio.Lock()
        self._replacing: set[asyncio.Task[None]] = set()
        self._given_up_in_a_row = self._deaths_in_a_row = 0
        self._stopped: ModelNotLoaded | None = None

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
        """Answer one chat; where the engine dies over it, a new one is up before `EngineDied` is raised.

        Raises:
            ModelNotLoaded: the endpoint will not serve us, or it, or engine after engine, answered none of many calls.
        """
        async with self._restarting:
            engine = self._engine
        if self._stopped is not None:
            raise self._stopped
        try:
            completion = _checked(await engine.complete(messages, sampling))
        except CallGivenUp as error:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= MAX_GIVEN_UP_IN_A_ROW:
                raise self._stop(
                    f"{self._given_up_in_a_row} calls in a row were not answered, the last one: {error}"
                ) from error
            raise
        except EndpointRefuses as error:
            raise self._stop(
                f"the endpoint refuses: {error}. Asking again does not help. What was committed stays, and the same "
                "command continues when the key, the account and the model's name are right"
            ) from error
        except EngineDied as error:
            # Not the call's own: where that is cancelled, later ones (of other stages too) find a whole engine.
            replacing = asyncio.ensure_future(self._replace(engine, error))
            self._replacing.add(replacing)
            replacing.add_done_callback(self._replacing.discard)
            await asyncio.shield(replacing)
            raise
        self._given_up_in_a_row = self._deaths_in_a_row = 0
        return completion

    async def close(self) -> None:
        """Stop the engine, also one that is being started."""
        async with self._restarting:
            await self._engine.close()

    def _stop(self, why: str) -> ModelNotLoaded:
        """Answer no further call; what comes back is to be raised."""
        self._stopped = ModelNotLoaded(why)
        return self._stopped

    async def _replace(self, dead: Engine, death: EngineDied) -> None:
        async with self._restarting:
            if self._engine is not dead or self._stopped is not None:
                return
            self._deaths_in_a_row += 1
            await dead.close()
            engine = make_engine(self._spec)
            try:
                await engine.start()
            except ModelNotLoaded as error:
                self._stopped = error
                raise
            if self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW:
                await self._try_one_token(engine, death)
                self._deaths_in_a_row = 0
            self._engine = engine

    async def _try_one_token(self, engine: Engine, death: EngineDied) -> None:
        """See that an engine answers anything at all: if it does, the rows that it was asked about are to blame.

        Raises:
            ModelNotLoaded: it does not.
        """
        try:
            await engine.complete([{"role": "user", "content": "Hi"}], Sampling(max_tokens=1))
        except (CallGivenUp, EngineDied) as error:
            await engine.close()
            raise self._stop(
                f"the engine died {self._deaths_in_a_row} times in a row and answered nothing between, last over: "
                f"{death}. A new one does not answer even 'Hi': {error}"
            ) from error
        except (PromptTooLong, RequestRefused):
            return


def live_engines(models: Mapping[str, ModelSpec]) -> dict[str, LiveEngine]:
    """An engine for every model of this process, each on its own of the process's GPUs; none is started yet."""
    placed = on_their_gpus(models, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return {name: LiveEngine(spec) for name, spec in placed.items()}


def _checked(completion: Completion) -> Completion:
    """A completion as it may enter.

    Raises:
        CallGivenUp: it is none, or a value of it is of another kind; a lone surrogate is no text.
    """
    try:
        return Completion(**dict(_Answer.model_validate(completion)))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        raise CallGivenUp(f"a malformed answer: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
