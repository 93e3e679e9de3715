"""An engine that is started again when it dies."""

import asyncio

from drp_ray.engines import make_engine
from drp_ray.engines.base import Completion, Engine, EngineDied, Message, ModelSpec, Sampling


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
