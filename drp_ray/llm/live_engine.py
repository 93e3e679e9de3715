"""An engine that is started again when it dies."""

import asyncio

from drp_ray.engines import make_engine
from drp_ray.engines.base import (
    CallGivenUp,
    Completion,
    Engine,
    EngineDied,
    Message,
    ModelNotLoaded,
    ModelSpec,
    Sampling,
)

MAX_GIVEN_UP_IN_A_ROW = 50
"""Calls that an endpoint may leave without an answer, none answered between them, before the job stops."""


class LiveEngine:
    """An engine that is started again when it dies. It has the interface of one."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec, self._engine = spec, make_engine(spec)
        self._restarting = asyncio.Lock()
        self._given_up_in_a_row = 0

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
            ModelNotLoaded: the endpoint answered none of many calls in a row.
        """
        async with self._restarting:
            engine = self._engine
        try:
            completion = await engine.complete(messages, sampling)
        except CallGivenUp as error:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= MAX_GIVEN_UP_IN_A_ROW:
                raise ModelNotLoaded(
                    f"{self._given_up_in_a_row} calls in a row were not answered, the last one: {error}"
                ) from error
            raise
        except EngineDied:
            await self._replace(engine)
            raise
        self._given_up_in_a_row = 0
        return completion

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
