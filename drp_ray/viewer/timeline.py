"""When the parts of a stage were made: how many tokens a second all its engines together read and wrote.

Parts carry the seconds that they took and no time of day. When they ended is when their files were written, as the disk
or the bucket has it. A copy of a file has a time of its own, and a stage that was resumed paused for a while: so these
times are used only where all work between them fits the time that the stage took.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

STEPS = 80
FEWEST_PARTS = 4
"""Fewer parts make no line."""


@dataclass(frozen=True)
class PartTime:
    """A part: when its file was written, the seconds that it took, and its tokens."""

    ended_s: float
    seconds: float
    tokens: float

    @property
    def began_s(self) -> float:
        """When work on it began."""
        return self.ended_s - self.seconds


@dataclass(frozen=True)
class Timeline:
    """Tokens a second in steps of `step_s` seconds, from the beginning of the first part on."""

    step_s: float
    speeds: tuple[float, ...]


def timeline(parts: Sequence[PartTime], wall_s: float) -> Timeline | None:
    """The tokens of each part spread evenly over its time; None where the times of files are not those of the stage.

    They are taken for them where they span at least four fifths of the stage's `wall_s` seconds (the rest is loading
    models) and no more than all, with a tenth and five seconds for the clocks of machines.
    """
    timed = [part for part in parts if part.seconds > 0]
    if len(timed) < FEWEST_PARTS:
        return None
    start, end = min(part.began_s for part in timed), max(part.ended_s for part in timed)
    if not 0.8 * wall_s <= end - start <= 1.1 * wall_s + 5:
        return None
    step = (end - start) / STEPS
    edges = [start + place * step for place in range(STEPS + 1)]
    return Timeline(step, tuple(_tokens_between(timed, *ends) / step for ends in pairwise(edges)))


def _tokens_between(parts: Sequence[PartTime], first: float, last: float) -> float:
    return sum(
        part.tokens * max(min(part.ended_s, last) - max(part.began_s, first), 0) / part.seconds for part in parts
    )
