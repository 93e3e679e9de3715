"""Copy rate and longest copy: how much of a prediction stands word for word in the user's profile.

What copies the profile looks personal to every metric that compares ways of writing, so these stand beside them.
"""

from collections.abc import Sequence
from functools import lru_cache

from pydantic import Field

from drp_ray.evaluation.metrics.base import Metric, ProfileMetric, Scores, metric
from drp_ray.evaluation.words import words_of

_OTHER = "\0"
"""Stands in a profile for a word that the prediction lacks, and between reviews: no copy goes across it."""


@lru_cache(maxsize=256)
def _as_letters(prediction: str, profile: tuple[str, ...]) -> tuple[str, str]:
    """The prediction and the whole profile with a letter for each word of the prediction.

    Runs of words are then substrings, which Python finds quickly. Remembered, since both metrics ask for every row.
    """
    letters: dict[str, str] = {}
    written = "".join([letters.setdefault(word, chr(1 + len(letters))) for word in words_of(prediction)])
    read = ["".join([letters.get(word, _OTHER) for word in words_of(review)]) for review in profile]
    return written, _OTHER.join(read)


def copied_share(prediction: str, profile: Sequence[str], at_least: int) -> float:
    """The share of the prediction's words that lie in a run of `at_least` words that one review has too."""
    written, read = _as_letters(prediction, tuple(profile))
    copied, end = 0, 0
    for start in range(len(written) - at_least + 1):
        if written[start : start + at_least] in read:
            copied += start + at_least - max(start, end)
            end = start + at_least
    return copied / max(len(written), 1)


def longest_copy(prediction: str, profile: Sequence[str]) -> int:
    """How many words the longest run has that one review has too."""
    written, read = _as_letters(prediction, tuple(profile))
    longest = 0
    for start in range(len(written)):
        while start + longest < len(written) and written[start : start + longest + 1] in read:
            longest += 1
    return longest


@metric("copy_rate", "Copy rate")
class CopyRate(ProfileMetric):
    """The share of the prediction's words in runs that also occur in a review of the user's profile."""

    better = "none"

    class Settings(Metric.Settings):
        """How long a run must be to count as copied; shorter ones are common to all who write."""

        min_words: int = Field(default=5, ge=1)

    settings: Settings

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return f"copy rate v1|words in a run:{self.settings.min_words}|tok:words|case:lower"

    def score(self, prediction: str, reference: str, profile: Sequence[str] = ()) -> Scores:
        """See `ProfileMetric`. Between 0 and 1; the reference does not count."""
        return {self.name: copied_share(prediction, profile, self.settings.min_words)}


@metric("longest_copy", "Longest copy")
class LongestCopy(ProfileMetric):
    """The words of the longest run that also occurs in a review of the user's profile."""

    better = "none"

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return "longest copy v1|tok:words|case:lower"

    def score(self, prediction: str, reference: str, profile: Sequence[str] = ()) -> Scores:
        """See `ProfileMetric`. 0 or more words; the reference does not count."""
        return {self.name: float(longest_copy(prediction, profile))}
