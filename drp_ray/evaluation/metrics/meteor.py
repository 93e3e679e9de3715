"""METEOR: words in common as they are, by stem or by synonym, and how far they are in the same order."""

import logging
import math
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from drp_ray.evaluation.metrics.base import Metric, Scores, metric
from drp_ray.evaluation.sentences import split_sentences
from drp_ray.evaluation.wordnet import WORDNET_VERSION, WordNetMissing, load_wordnet, obtain_wordnet

# NLTK is imported where it is used: it takes 1 to 2 s, which the driver need not pay.

logger = logging.getLogger(__name__)

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5

PUNKT = "tokenizers/punkt_tab/english/"
"""NLTK's model of sentence ends, by its place in NLTK's folders."""


class _Words:
    """Asks a stemmer and a WordNet reader once for every word."""

    def __init__(self, wordnet: Any, stemmer: Any, words: int = 200_000) -> None:
        self._wordnet = wordnet
        self.synonyms = lru_cache(words)(self._look_up)
        self.stem = lru_cache(words)(stemmer.stem)

    def _look_up(self, word: str) -> frozenset[str]:
        """The word and all single words that WordNet has in one of its synsets."""
        synsets = self._wordnet.synsets(word)
        lemmas = (lemma.name() for synset in synsets for lemma in synset.lemmas())
        return frozenset([word, *(lemma for lemma in lemmas if "_" not in lemma)])


Numbered = list[tuple[int, str]]
"""Words that are left to match, each with its place in the text."""


def align(prediction: list[str], reference: list[str], words: _Words) -> list[tuple[int, int]]:
    """Match words as they are, then by stem, then the stems that are left by synonym; the places of every match.

    Every word of the prediction, from the last to the first, takes the last word of the reference that fits. NLTK
    matches in this order, so that the values are the same.
    """
    left, right = list(enumerate(prediction)), list(enumerate(reference))
    exact, left, right = _match(left, right, lambda word: (word,))
    left, right = ([(place, words.stem(word)) for place, word in side] for side in (left, right))
    by_stem, left, right = _match(left, right, lambda word: (word,))
    by_synonym, _, _ = _match(left, right, words.synonyms)
    return sorted([*exact, *by_stem, *by_synonym])


def _match(
    left: Numbered, right: Numbered, fitting: Callable[[str], Iterable[str]]
) -> tuple[list[tuple[int, int]], Numbered, Numbered]:
    """The matches, and what is left of both sides."""
    places: dict[str, list[int]] = {}
    for place, word in right:
        places.setdefault(word, []).append(place)
    matches, unmatched, taken = [], [], set()
    for place, word in reversed(left):
        free = [there for fit in fitting(word) if (there := places.get(fit))]
        if not free:
            unmatched.append((place, word))
            continue
        last = max(free, key=lambda there: there[-1])
        matches.append((place, last[-1]))
        taken.add(last.pop())
    return matches, unmatched[::-1], [pair for pair in right if pair[0] not in taken]


def harmonic_mean_with_penalty(matches: list[tuple[int, int]], predicted: int, true: int) -> float:
    """METEOR of matched places in texts of so many words: recall counts most, and every break in the order costs."""
    if not matches:
        return 0.0
    precision, recall = len(matches) / predicted, len(matches) / true
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    steps = pairwise(matches)
    chunks = 1 + sum(there != (here[0] + 1, here[1] + 1) for here, there in steps)
    return (1 - GAMMA * math.pow(chunks / len(matches), BETA)) * mean


@metric("meteor", "METEOR")
class Meteor(Metric):
    """METEOR of NLTK: words match as they are, by stem or by synonym; alpha 0.9, beta 3, gamma 0.5.

    The values are those of NLTK's `single_meteor_score`. NLTK 3.10 looks for synonyms among the stems of the words
    that are left, so that "car" matches "auto" but not "automobile", whose stem is no word. That is kept: the metric
    is NLTK's.
    """

    class Settings(Metric.Settings):
        """How sentences are found before they are cut into words.

        `rule` is the package's own rule. `word_tokenize` is NLTK's function of this name, with which most published
        values are computed; it needs NLTK's model punkt_tab on every node.
        """

        tokenizer: Literal["rule", "word_tokenize"] = "rule"

    settings: Settings

    @property
    def _wordnet_folder(self) -> Path:
        return self.cache / f"wordnet-{WORDNET_VERSION}"

    @property
    def signature(self) -> str:
        """See `Metric`."""
        sentences = "drp_ray split_sentences v1" if self.settings.tokenizer == "rule" else "nltk punkt_tab english"
        return (
            f"nltk {version('nltk')} meteor_score|alpha:0.9|beta:3|gamma:0.5|stem:Porter"
            f"|synonyms:WordNet {WORDNET_VERSION}|tok:NLTKWordTokenizer|case:lower|sentences:{sentences}"
        )

    def missing(self) -> str | None:
        """See `Metric`. Finds or obtains WordNet 3.0 at the first call."""
        return self._why_missing or self._why_no_sentences

    @cached_property
    def _why_missing(self) -> str | None:
        try:
            obtain_wordnet(self._wordnet_folder)
        except WordNetMissing as missing:
            logger.warning("METEOR is left out. %s", missing)
            return str(missing)
        return None

    @cached_property
    def _why_no_sentences(self) -> str | None:
        if self.settings.tokenizer == "rule":
            return None
        from nltk.data import find

        try:
            find(PUNKT)
        except LookupError:
            return (
                f"evaluation.metrics.meteor.tokenizer is word_tokenize, and {PUNKT} is in none of NLTK's folders: "
                "`python -m nltk.downloader punkt_tab` on every node, or leave the setting out"
            )
        return None

    @cached_property
    def _words(self) -> _Words:
        from nltk.stem.porter import PorterStemmer

        return _Words(load_wordnet(obtain_wordnet(self._wordnet_folder)), PorterStemmer())

    @cached_property
    def _tokenizer(self) -> Any:
        from nltk.tokenize.destructive import NLTKWordTokenizer

        return NLTKWordTokenizer()

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, sentence by sentence, in their own case."""
        if self.settings.tokenizer == "word_tokenize":
            from nltk.tokenize import word_tokenize

            return list(word_tokenize(text))
        return [word for sentence in split_sentences(text) for word in self._tokenizer.tokenize(sentence)]

    @cached_property
    def _lower_words(self) -> Callable[[str], list[str]]:
        """`tokenize` in lower case; remembered, since controls compare many texts with the same references."""
        return lru_cache(maxsize=1024)(lambda text: [word.lower() for word in self.tokenize(text)])

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 1. Raises `WordNetMissing` where `missing` says so."""
        predicted, true = self._lower_words(prediction), self._lower_words(reference)
        matches = align(predicted, true, self._words)
        return {"meteor": harmonic_mean_with_penalty(matches, len(predicted), len(true))}
