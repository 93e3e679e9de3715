"""METEOR: words in common as they are, by stem or by synonym, and how far they are in the same order."""

import logging
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from drp_ray.evaluation.metrics.base import Metric, Scores, metric
from drp_ray.evaluation.sentences import split_sentences
from drp_ray.evaluation.wordnet import WORDNET_VERSION, WordNetMissing, load_wordnet, obtain_wordnet

# NLTK is imported where it is used: it takes 1 to 2 s, which the driver need not pay.

logger = logging.getLogger(__name__)


class _Remembered:
    """Stands in for a stemmer and for a WordNet reader, and asks the real ones once for every word."""

    def __init__(self, wordnet: Any, stemmer: Any, words: int = 200_000) -> None:
        self.synsets = lru_cache(words)(wordnet.synsets)
        self.stem = lru_cache(words)(stemmer.stem)


@metric("meteor", "METEOR")
class Meteor(Metric):
    """METEOR of NLTK: words match as they are, by stem or by synonym; alpha 0.9, beta 3, gamma 0.5.

    NLTK 3.10 looks for synonyms among the stems of the words that are left, so that "car" matches "auto" but
    not "automobile", whose stem is no word. That is kept: the metric is NLTK's.
    """

    @property
    def _wordnet_folder(self) -> Path:
        return self.cache / f"wordnet-{WORDNET_VERSION}"

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return (
            f"nltk {version('nltk')} meteor_score|alpha:0.9|beta:3|gamma:0.5|stem:Porter"
            f"|synonyms:WordNet {WORDNET_VERSION}|tok:NLTKWordTokenizer|case:lower"
            "|sentences:drp_ray split_sentences v1"
        )

    def missing(self) -> str | None:
        """See `Metric`. Finds or obtains WordNet 3.0 at the first call."""
        return self._why_missing

    @cached_property
    def _why_missing(self) -> str | None:
        try:
            obtain_wordnet(self._wordnet_folder)
        except WordNetMissing as missing:
            logger.warning("METEOR is left out. %s", missing)
            return str(missing)
        return None

    @cached_property
    def _words(self) -> _Remembered:
        from nltk.stem.porter import PorterStemmer

        return _Remembered(load_wordnet(obtain_wordnet(self._wordnet_folder)), PorterStemmer())

    @cached_property
    def _tokenizer(self) -> Any:
        from nltk.tokenize.destructive import NLTKWordTokenizer

        return NLTKWordTokenizer()

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, sentence by sentence, in their own case (`meteor_score` lowers it)."""
        return [word for sentence in split_sentences(text) for word in self._tokenizer.tokenize(sentence)]

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 1. Raises `WordNetMissing` where `missing` says so."""
        from nltk.translate.meteor_score import single_meteor_score

        value = single_meteor_score(
            self.tokenize(reference),
            self.tokenize(prediction),
            stemmer=self._words,
            wordnet=self._words,
            alpha=0.9,
            beta=3.0,
            gamma=0.5,
        )
        return {"meteor": float(value)}
