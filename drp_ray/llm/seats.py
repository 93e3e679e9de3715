"""A semaphore whose holders may take several places."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Seats:
    """Places that are given out in the order of asking; a holder may take several."""

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
