"""Author identification: which of several reviewers of an item wrote a text, told by their other reviews alone.

A text that reads like its user is attributed to the user, and one that anybody could have written is not. Reviewers of
one item write about the same thing, so that the topic gives nobody away. Chance is one in `AUTHORS`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from drp_ray.evaluation.metrics.base import Better, MeanOfUsers
from drp_ray.evaluation.words import words_of

AUTHORS = 5
"""The user and four others."""

LONGEST = 6_000
"""Characters of each author that are compared at most."""

TIE = 1e-9
"""Similarities that differ by no more than this are equal: sums in another order differ in their last digits."""

Vectors = NDArray[np.float64]
"""A row for each text."""


class Attribution(MeanOfUsers, ABC):
    """One way to tell how near a text is to each author."""

    name: ClassVar[str]
    title: ClassVar[str]
    better: ClassVar[Better] = "higher"
    signature: ClassVar[str]

    @abstractmethod
    def similarities(self, texts: Sequence[str], authors: Sequence[str]) -> Vectors:
        """How near each text is to each author: float64[texts, authors], the nearest has the largest number."""

    @property
    def columns(self) -> list[pa.Field]:
        """One column: 1 where the user is the nearest author, 0 where another is, a share where several are."""
        return [pa.field(self.name, pa.float64())]


class Characters(Attribution):
    """Cosine of TF-IDF over 3 to 5 characters in a row."""

    name, title = "author_characters", "Author by characters"
    signature = "author identification v1|scikit-learn TF-IDF of 3-5 characters, sublinear|cosine|authors:5"
    sublinear = True
    """Whether n counts of an n-gram weigh 1 + log n: the most frequent ones, which all authors share, weigh less."""

    def similarities(self, texts: Sequence[str], authors: Sequence[str]) -> Vectors:
        """See `Attribution`. The weights are those of the authors' texts."""
        # Imported here: it takes a second that the command line need not pay.
        from sklearn.feature_extraction.text import TfidfVectorizer

        weights: Any = TfidfVectorizer(
            analyzer="char", ngram_range=(3, 5), sublinear_tf=self.sublinear, token_pattern=None
        )
        try:
            known = weights.fit_transform(authors)
        except ValueError:  # "empty vocabulary": no author wrote three characters
            return np.zeros((len(texts), len(authors)))
        return np.asarray((weights.transform(texts) @ known.T).toarray(), np.float64)


class FunctionWords(Attribution):
    """Burrows' Delta over function words: the mean difference of their shares, in the authors' standard deviations."""

    name, title = "author_words", "Author by function words"
    signature = "author identification v2|Burrows' Delta of 140 function words|authors:5"

    def similarities(self, texts: Sequence[str], authors: Sequence[str]) -> Vectors:
        """See `Attribution`. A word that all authors use alike says nothing, nor does a text without any other."""
        known, asked = _word_shares(authors), _word_shares(texts)
        spread = known.std(axis=0)
        telling = spread > 0
        differences = np.abs(asked[:, None, telling] - known[None, :, telling]) / spread[telling]
        # Whoever uses the fewest function words would be the nearest to a text without them.
        differences[~asked[:, telling].any(axis=1)] = 0.0
        return np.asarray(-differences.sum(axis=2) / max(int(telling.sum()), 1), np.float64)


_WORDS = """
    a about above after again all also although always am an and any are as at be because been before being
    below both but by can could did do does down during each either even ever few for from had has have he her
    here hers him his how however i if in into is it its just like many may me might mine more most much must my
    neither never no nor not of off often on once one only or other our out over own perhaps quite rather really
    she should since so some still such than that the their them then there these they this those though through
    to too under until up upon us very was we well were what when where whether which while who whom whose why
    will with without would yet you your
"""

FUNCTION_WORDS = tuple(_WORDS.split())
"""English words that carry grammar and not topic; everybody uses them, in shares that differ from person to person."""


def _word_shares(texts: Sequence[str]) -> Vectors:
    places = {word: place for place, word in enumerate(FUNCTION_WORDS)}
    shares = np.zeros((len(texts), len(FUNCTION_WORDS)))
    for row, text in enumerate(texts):
        words = words_of(text)
        for word in words:
            if word in places:
                shares[row, places[word]] += 1 / len(words)
    return shares


ATTRIBUTIONS: tuple[Attribution, ...] = (Characters(), FunctionWords())


def known_text(reviews: Sequence[str]) -> str:
    """An author's reviews as one text, cut at `LONGEST` characters."""
    return _one_line("\n".join(reviews))[:LONGEST]


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def credit(similarities: Vectors, author: int) -> float:
    """1 where `author` is the nearest; where several are, a fair share, so that no order among them favours anybody."""
    nearest = similarities >= similarities.max() - TIE
    return float(nearest[author] / nearest.sum())


def identify(
    texts: Mapping[str, str | None], user: str, authors: Sequence[Mapping[str, Any]] | None
) -> dict[str, dict[str, float | None]]:
    """For each named text the credit of `user` by each way; None where there is no text, or too few authors."""
    found: dict[str, dict[str, float | None]] = {
        name: dict.fromkeys(each.name for each in ATTRIBUTIONS) for name in texts
    }
    there = {name: _one_line(text) for name, text in texts.items() if text is not None}
    if authors is None or not there:
        return found
    place = [author["user_id"] for author in authors].index(user)
    known = [known_text(author["reviews"]) for author in authors]
    for way in ATTRIBUTIONS:
        rows = way.similarities(list(there.values()), known)
        for name, similarities in zip(there, rows, strict=True):
            found[name][way.name] = credit(similarities, place)
    return found
