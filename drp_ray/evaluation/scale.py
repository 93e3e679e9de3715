"""The scale that judges answer on: eleven labels for 0 to 10, how an answer is read, and what probabilities expect."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

HIGHEST = 10
"""The highest score; the lowest is 0, and all between are whole numbers."""

_MARKS = r"[\s*_`\"']{0,6}"
_HEAD = rf"{_MARKS}(?:\[?(?i:final )?(?i:score|rating|answer)\]?{_MARKS}[:=\uff1a]{_MARKS})?"
_OF_TEN = rf"(?:{_MARKS}/ ?10|\s(?i:out of)\s10)?"
_TAIL = rf"{_MARKS}\.?{_MARKS}"


class Expected(NamedTuple):
    """The score that probabilities expect; None where no label is among the likeliest tokens.

    `format_trust` is the probability that the model begins with a label at all, before it is held to one.
    """

    score: float | None
    format_trust: float


@dataclass(frozen=True)
class Scale:
    """Labels for 0 to 10, in this order; each is one token where they are `letters`."""

    labels: tuple[str, ...]
    pattern: re.Pattern[str]

    def read(self, answer: str) -> int | None:
        """The score that an answer says and nothing else; None where it cannot be read.

        "8", "8/10", "Score: 8" and "**8**" are 8. Anything that leaves a doubt is not read: "7.5", "8 or 9", "-3", 11,
        prose.
        """
        found = self.pattern.fullmatch(answer.strip())
        return self.labels.index(found["label"]) if found else None

    def expected(self, logprobs: Mapping[str, float]) -> Expected:
        """The mean score by the probabilities of the first token. White space before a label does not matter."""
        weights = [self._weight(label, logprobs) for label in self.labels]
        mass = math.fsum(weights)
        if mass <= 0:
            return Expected(None, 0.0)
        return Expected(math.fsum(score * each for score, each in enumerate(weights)) / mass, min(mass, 1.0))

    @staticmethod
    def _weight(label: str, logprobs: Mapping[str, float]) -> float:
        return math.fsum(sorted(math.exp(logprob) for token, logprob in logprobs.items() if token.strip() == label))


def _scale(labels: Sequence[str], label: str, ending: str) -> Scale:
    return Scale(tuple(labels), re.compile(rf"{_HEAD}(?P<label>{label}){ending}{_TAIL}", re.ASCII))


SCALES: Mapping[Literal["numbers", "letters"], Scale] = {
    "numbers": _scale([str(score) for score in range(HIGHEST + 1)], "10|[0-9]", _OF_TEN),
    "letters": _scale("ABCDEFGHIJK", "[A-K]", ""),
}
"""The scales by name."""
