"""Which worker works on which part: decided here, without Ray and without a clock of its own.

Workers ask for parts, one at a time, whenever they have room; so what is in flight follows what is left, and a worker
that starts late, or is slow, simply asks less often. The largest parts come first.

| what happens                               | what follows                                             |
|--------------------------------------------|----------------------------------------------------------|
| a worker is lost                           | its parts are dealt again at once                        |
| two workers were lost over a part          | from then on it is dealt alone, to an idle worker        |
| `MAX_LOST_WORKERS` were lost over a part   | its stage fails                                          |
| a part is far behind, and no other is left | an idle worker gets it too; one of the two may commit it |
| a stage fails that others share workers with | its parts are withdrawn, and the others go on          |
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MAX_LOST_WORKERS = 5
"""Worker processes that may die over one part before its stage fails: more is no accident of the cluster."""

SUSPECT_AFTER = 2
"""Workers that were lost over a part before it is dealt alone, so that the part that kills them is known."""

MOST_SECOND_DEALS = 8
"""Parts of a stage that may be dealt to a second worker while the first one is still there."""

SLOW_S, SLOW_TIMES = 60.0, 2.0
"""A part is far behind after so many seconds, and so many times the longest that any part of the stage took."""


@dataclass(frozen=True)
class PartToDo:
    """A part that is to be made; `replaces` is the digest of the committed part that it takes the place of.

    Parts of several stages may be dealt together: `stage` is the number of a part's own among them, and its name is
    `NUMBER/PART`.
    """

    name: str
    rows: int
    replaces: str = ""
    stage: int = 0

    @property
    def part(self) -> str:
        """The name of its file."""
        return self.name.rpartition("/")[2]


class Dealing:
    """The parts of a stage: those not dealt, and who holds the others since when."""

    def __init__(self, parts: Iterable[PartToDo]) -> None:
        self._parts = {part.name: part for part in parts}
        self._undealt = [(-part.rows, part.name) for part in self._parts.values()]
        heapq.heapify(self._undealt)
        self._suspects: list[str] = []
        self._held: dict[str, dict[str, float]] = {}
        self._of_worker: dict[str, set[str]] = {}
        self._committing: dict[str, str] = {}
        self._lost: Counter[str] = Counter()
        self._gone: set[str] = set()
        self._second_deals = 0
        self._longest_s = 0.0
        self._left = set(self._parts)

    @property
    def is_over(self) -> bool:
        """Whether every part has ended."""
        return not self._left

    def has_gone(self, worker: str) -> bool:
        """Whether a worker counts as lost: what it still says is not heard."""
        return worker in self._gone

    def deal(self, worker: str, now: float) -> PartToDo | None:
        """The next part for a worker that asks; None where there is none for it now."""
        holds = self._of_worker.setdefault(worker, set())
        if worker in self._gone or any(self._lost[name] >= SUSPECT_AFTER for name in holds):
            return None
        if self._undealt:
            return self._hand(heapq.heappop(self._undealt)[1], worker, now)
        if holds:
            return None
        if self._suspects:
            return self._hand(self._suspects.pop(0), worker, now)
        late = self._furthest_behind(now)
        if late is None:
            return None
        self._second_deals += 1
        return self._hand(late, worker, now)

    def may_commit(self, worker: str, name: str) -> bool | None:
        """Whether a worker may commit a part now; None where another one is about to, and may yet be lost."""
        if name not in self._left or worker in self._gone:
            return False
        first = self._committing.setdefault(name, worker)
        return True if first == worker else None

    def end(self, worker: str, name: str, now: float) -> bool:
        """Note that a worker has brought a part to its end; False where that is known already."""
        if name not in self._left or worker in self._gone:
            return False
        holders = self._held.pop(name, {})
        self._longest_s = max(self._longest_s, now - holders.get(worker, now))
        for holder in holders:
            self._of_worker[holder].discard(name)
        self._left.discard(name)
        self._committing.pop(name, None)
        return True

    def withdraw(self, stage: int) -> None:
        """Deal no more parts of a stage; those that are being made are not committed."""
        names = {name for name in self._left if self._parts[name].stage == stage}
        for name in names:
            for holder in self._held.pop(name, {}):
                self._of_worker[holder].discard(name)
            self._committing.pop(name, None)
        self._left -= names
        self._undealt = [(rows, name) for rows, name in self._undealt if name not in names]
        heapq.heapify(self._undealt)
        self._suspects = [name for name in self._suspects if name not in names]

    def lose(self, worker: str, is_blamed: bool = True) -> tuple[str, ...]:
        """Take back what a lost worker held; the parts that have cost too many workers.

        No part is to blame (`is_blamed`) where the whole node went.
        """
        self._gone.add(worker)
        condemned = []
        for name in sorted(self._of_worker.pop(worker, ())):
            self._lost[name] += is_blamed
            if self._committing.get(name) == worker:
                del self._committing[name]
            holders = self._held[name]
            del holders[worker]
            if self._lost[name] >= MAX_LOST_WORKERS:
                condemned.append(name)
            elif not holders:
                self._take_back(name)
        return tuple(condemned)

    def _hand(self, name: str, worker: str, now: float) -> PartToDo:
        self._held.setdefault(name, {})[worker] = now
        self._of_worker[worker].add(name)
        return self._parts[name]

    def _take_back(self, name: str) -> None:
        if self._lost[name] >= SUSPECT_AFTER:
            self._suspects.append(name)
        else:
            heapq.heappush(self._undealt, (-self._parts[name].rows, name))

    def _furthest_behind(self, now: float) -> str | None:
        """The part that one worker has held for longest, if that is far longer than any other took."""
        if self._second_deals >= MOST_SECOND_DEALS:
            return None
        since = {
            name: next(iter(holders.values()))
            for name, holders in self._held.items()
            if len(holders) == 1 and name not in self._committing and not self._lost[name]
        }
        if not since:
            return None
        late = min(since, key=lambda name: (since[name], name))
        return late if now - since[late] > max(SLOW_S, SLOW_TIMES * self._longest_s) else None
