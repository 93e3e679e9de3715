"""Simulated time of a stage whose rows make two calls in sequence: dealt in parts by `running.dealing`, and at best.

Nothing here runs anything: durations are drawn, and events are played in order.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from drp_ray.running.dealing import Dealing, PartToDo

ROWS_PER_PART = 32
HOARDED = 17
"""Parts that Ray Data gave an actor at once before parts were dealt."""


@dataclass(frozen=True)
class Shape:
    """How many rows a stage has, and how many of them its largest parts hold: an item is never split."""

    name: str
    rows: int
    n_largest: int
    in_largest: int

    def parts(self, seed: int = 0) -> list[int]:
        """Rows of every part, the largest first: items of Pareto sizes, put together until a part is full."""
        chance = random.Random(seed)
        weights = [1 / math.sqrt(place) for place in range(1, self.n_largest + 1)]
        sizes, filling = [round(self.in_largest * weight / sum(weights)) for weight in weights], 0
        smallest, left = sizes[-1], self.rows - sum(sizes)
        while left:
            item = min(int(chance.paretovariate(1.1)), smallest, left)
            filling, left = filling + item, left - item
            if filling >= ROWS_PER_PART:
                sizes.append(filling)
                filling = 0
        return sorted([*sizes, *([filling] if filling else [])], reverse=True)


SMALL = Shape("3,000 users", 23_733, 6, 600)
FULL = Shape("full Yelp", 227_137, 9, 7_311)


@dataclass(frozen=True)
class Replicas:
    """Workers of so many seats each, whose calls take `mean_s` on average, lognormally distributed."""

    count: int
    seats: int
    mean_s: float
    sigma: float

    def row_seconds(self, rows: int, seed: int) -> list[float]:
        """How long each row takes, which is two calls."""
        chance = random.Random(seed)
        return [
            call_seconds(chance, self.mean_s, self.sigma) + call_seconds(chance, self.mean_s, self.sigma)
            for _ in range(rows)
        ]


def call_seconds(chance: random.Random, mean_s: float, sigma: float) -> float:
    """How long a call takes."""
    return mean_s * chance.lognormvariate(-sigma * sigma / 2, sigma)


def best_span(row_seconds: Sequence[float], seats: int) -> float:
    """Seconds where rows need no parts: a seat that gets free takes the next row of all."""
    free = [0.0] * seats
    for seconds in row_seconds:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def dealt_span(parts: Sequence[int], row_seconds: Sequence[float], replicas: Replicas, hoarding: bool = False) -> float:
    """Seconds where workers ask for parts whenever they have free seats; `hoarding`: up to 17 parts at once."""
    return _Play(parts, row_seconds, replicas, hoarding).span()


class _Play:
    """Workers with seats, and rows that wait for them."""

    def __init__(self, parts: Sequence[int], row_seconds: Sequence[float], replicas: Replicas, hoarding: bool) -> None:
        to_do = [PartToDo(f"part-{number:05d}", rows) for number, rows in enumerate(parts)]
        self._dealing, self._replicas, self._hoarding = Dealing(to_do), replicas, hoarding
        rows = iter(row_seconds)
        self._seconds = {part.name: [next(rows) for _ in range(part.rows)] for part in to_do}
        self._rows_left = {part.name: part.rows for part in to_do}
        self._waiting: list[deque[tuple[str, float]]] = [deque() for _ in range(replicas.count)]
        self._seated, self._held = [0] * replicas.count, [0] * replicas.count
        self._now, self._events = 0.0, list[tuple[float, int, str]]()

    def span(self) -> float:
        """Play until nothing happens any more."""
        asking = list(range(self._replicas.count))
        while asking:  # all are up, and ask in turn; where they hoard, the first one takes all that it may
            asking = [worker for worker in asking if self._take(worker, most=HOARDED if self._hoarding else 1)]
        while self._events:
            self._now, worker, part = heapq.heappop(self._events)
            self._seated[worker] -= 1
            self._rows_left[part] -= 1
            if not self._rows_left[part]:
                self._held[worker] -= 1
                self._dealing.end(str(worker), part, self._now)
            self._seat(worker)
            while self._take(worker, most=1):
                pass
        assert self._dealing.is_over
        return self._now

    def _take(self, worker: int, most: int) -> bool:
        """Ask for parts, as far as there is room for them; whether there was one."""
        for number in range(most):
            under_way = self._seated[worker] + len(self._waiting[worker])
            has_room = self._held[worker] < HOARDED if self._hoarding else under_way < self._replicas.seats
            part = self._dealing.deal(str(worker), self._now) if has_room else None
            if part is None:
                return number > 0
            self._held[worker] += 1
            self._waiting[worker].extend((part.name, seconds) for seconds in self._seconds[part.name])
            self._seat(worker)
        return True

    def _seat(self, worker: int) -> None:
        while self._waiting[worker] and self._seated[worker] < self._replicas.seats:
            part, seconds = self._waiting[worker].popleft()
            self._seated[worker] += 1
            heapq.heappush(self._events, (self._now + seconds, worker, part))
