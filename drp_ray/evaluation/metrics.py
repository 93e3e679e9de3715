"""Metrics that compare a prediction with its reference: one class each, found by name in `METRICS`.

A metric is scored row by row, on any worker, into flat number columns; the number it reports is computed
from the sums of these columns. So a corpus metric takes one pass too, and its value does not depend on how
rows are split into parts.
"""

import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from drp_ray.evaluation.wordnet import WORDNET_VERSION, WordNetMissing, load_wordnet, obtain_wordnet

# rouge-score, NLTK and sacrebleu are imported where they are used: NLTK alone takes 1 to 2 s, which the
# driver and the command line, that only read names and columns, need not pay.

logger = logging.getLogger(__name__)

Scores = dict[str, float | int]
"""Column values of one row."""


class Metric(ABC):
    """One metric. Constructing is cheap; libraries and dictionaries are loaded with the first row.

    `cache` is the folder that WordNet is kept in (see `obtain_wordnet`); only METEOR looks at it. Construct a
    metric in the process that scores: what it remembers of earlier rows cannot be sent to another one.
    """

    name: ClassVar[str]
    columns: ClassVar[list[pa.Field]]
    """What `score` returns: the row's value under the metric's name, then the statistics to sum, if any."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    @property
    @abstractmethod
    def signature(self) -> str:
        """Implementation, version, tokenizer and parameters: equal signatures mean comparable numbers."""

    @abstractmethod
    def score(self, prediction: str, reference: str) -> Scores:
        """Compare one prediction with its reference; any text is accepted, the empty one too."""

    def available(self) -> str | None:
        """Return None, or why this metric cannot be computed on this machine and what to do about it."""
        return None

    def aggregate(self, sums: Mapping[str, float], n: int) -> float:
        """Compute the reported number from column sums over the `n` rows with a score; NaN for no row."""
        return sums[self.name] / n if n else math.nan


AnyMetric = TypeVar("AnyMetric", bound=Metric)

METRICS: dict[str, type[Metric]] = {}
"""Every metric by name."""


def metric(name: str, *statistics: str) -> Callable[[type[AnyMetric]], type[AnyMetric]]:
    """Register a metric: a float64 column `name`, and one int64 column for each of `statistics`."""

    def register(cls: type[AnyMetric]) -> type[AnyMetric]:
        cls.name = name
        cls.columns = [pa.field(name, pa.float64()), *(pa.field(each, pa.int64()) for each in statistics)]
        METRICS[name] = cls
        return cls

    return register


def open_metrics(names: Iterable[str], cache: Path) -> list[Metric]:
    """Return the metrics of these names. Raises ValueError for a name that no metric has."""
    return [_find(name)(cache) for name in names]


def scores_schema(names: Iterable[str]) -> pa.Schema:
    """Return the schema of a scores table: `user_id`, then the columns of each metric; scores may be null.

    Raises ValueError for a name that no metric has.
    """
    return pa.schema([pa.field("user_id", pa.string()), *(field for name in names for field in _find(name).columns)])


def score_row(metrics: Iterable[Metric], prediction: str | None, reference: str) -> dict[str, float | int | None]:
    """Return the columns of all `metrics` for one row.

    They are null where there is no prediction (an error row) and for a metric that is not available here.
    """
    row: dict[str, float | int | None] = {}
    for each in metrics:
        if prediction is None or each.available() is not None:
            row.update({field.name: None for field in each.columns})
        else:
            row.update(each.score(prediction, reference))
    return row


def _find(name: str) -> type[Metric]:
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; there are {', '.join(sorted(METRICS))}")
    return METRICS[name]


class Rouge(Metric):
    """F1 of `rouge-score`, which knows it by the same name: lower case, [a-z0-9] only, no stemming."""

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return f"rouge-score {version('rouge-score')}|{self.name} F1|tok:default [a-z0-9]+|case:lower|stem:no"

    @cached_property
    def _scorer(self) -> Any:
        from rouge_score.rouge_scorer import RougeScorer

        return RougeScorer([self.name], use_stemmer=False)

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 1."""
        return {self.name: float(self._scorer.score(target=reference, prediction=prediction)[self.name].fmeasure)}


@metric("rouge1")
class Rouge1(Rouge):
    """ROUGE-1: single words in common."""


@metric("rougeL")
class RougeL(Rouge):
    """ROUGE-L: the longest common subsequence of the whole texts."""


_ORDERS = range(1, 5)
_BLEU_COUNTS = [f"bleu_counts_{n}" for n in _ORDERS]
_BLEU_TOTALS = [f"bleu_totals_{n}" for n in _ORDERS]


@metric("bleu", *_BLEU_COUNTS, *_BLEU_TOTALS, "bleu_sys_len", "bleu_ref_len")
class Bleu(Metric):
    """BLEU of sacrebleu on its scale of 0 to 100: sentence level in the row, corpus level in the report.

    The statistics have sacrebleu's names: matching and all 1- to 4-grams of the prediction, and both lengths.
    """

    @property
    def signature(self) -> str:
        """See `Metric`. The row's own value differs in one point, `eff:yes`."""
        from sacrebleu.metrics.bleu import BLEU

        corpus_level = BLEU()
        corpus_level.corpus_score([""], [[""]])  # sacrebleu 2.6 knows its number of references only afterwards.
        return f"sacrebleu corpus BLEU|{corpus_level.get_signature()}"

    @cached_property
    def _scorer(self) -> Any:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(tokenize="13a", smooth_method="exp", effective_order=True)

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 100, with the n-gram orders that the prediction is long enough for."""
        bleu = self._scorer.sentence_score(prediction, [reference])
        statistics = dict(zip([*_BLEU_COUNTS, *_BLEU_TOTALS], [*bleu.counts, *bleu.totals], strict=True))
        return {
            "bleu": float(bleu.score),
            **statistics,
            "bleu_sys_len": bleu.sys_len,
            "bleu_ref_len": bleu.ref_len,
        }

    def aggregate(self, sums: Mapping[str, float], n: int) -> float:
        """See `Metric`. The corpus value, exactly that of `sacrebleu.corpus_bleu` over all rows."""
        from sacrebleu.metrics.bleu import BLEU

        if n == 0:
            return math.nan
        corpus = BLEU.compute_bleu(
            correct=[int(sums[name]) for name in _BLEU_COUNTS],
            total=[int(sums[name]) for name in _BLEU_TOTALS],
            sys_len=int(sums["bleu_sys_len"]),
            ref_len=int(sums["bleu_ref_len"]),
            smooth_method="exp",
        )
        return float(corpus.score)


_NOT_AFTER = "".join(rf"(?<!\b{word})" for word in ("Mr", "Mrs", "Ms", "Dr", "Prof", "St", "vs", "[A-Z]"))
_SENTENCE_END = re.compile(_NOT_AFTER + r"""(?<![.!?])[.!?]+["'”’)\]]*\s+(?=[^\sa-z])""")


def split_sentences(text: str) -> list[str]:
    """Split after `.`, `!` or `?` and closing quotes or brackets, before a gap and no lower-case letter.

    A title (Mr. Mrs. Ms. Dr. Prof. St.), "vs." and a single capital letter with its full stop end no
    sentence. The rule stands in for NLTK's punkt model, which must be downloaded, so that words are the same
    everywhere.
    """
    ends = [end.end() for end in _SENTENCE_END.finditer(text)]
    return [text[start:end].strip() for start, end in pairwise([0, *ends, len(text)])]


class _Remembered:
    """Stands in for a stemmer and for a WordNet reader, and asks the real ones once for every word."""

    def __init__(self, wordnet: Any, stemmer: Any, words: int = 200_000) -> None:
        self.synsets = lru_cache(words)(wordnet.synsets)
        self.stem = lru_cache(words)(stemmer.stem)


@metric("meteor")
class Meteor(Metric):
    """METEOR of NLTK: words match as they are, by stem or by synonym; alpha 0.9, beta 3, gamma 0.5.

    NLTK 3.10 looks for synonyms among the stems of the words that are left, so that "car" matches "auto" but
    not "automobile", whose stem is no word. That is kept: the metric is NLTK's.
    """

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return (
            f"nltk {version('nltk')} meteor_score|alpha:0.9|beta:3|gamma:0.5|stem:Porter"
            f"|synonyms:WordNet {WORDNET_VERSION}|tok:NLTKWordTokenizer|case:lower"
            "|sentences:drp_ray split_sentences v1"
        )

    def available(self) -> str | None:
        """See `Metric`. Finds or obtains WordNet 3.0 at the first call."""
        return self._missing

    @cached_property
    def _missing(self) -> str | None:
        try:
            obtain_wordnet(self.cache)
        except WordNetMissing as missing:
            logger.warning("METEOR is left out. %s", missing)
            return str(missing)
        return None

    @cached_property
    def _words(self) -> _Remembered:
        from nltk.stem.porter import PorterStemmer

        return _Remembered(load_wordnet(obtain_wordnet(self.cache)), PorterStemmer())

    @cached_property
    def _tokenizer(self) -> Any:
        from nltk.tokenize.destructive import NLTKWordTokenizer

        return NLTKWordTokenizer()

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, sentence by sentence, in their own case (`meteor_score` lowers it)."""
        return [word for sentence in split_sentences(text) for word in self._tokenizer.tokenize(sentence)]

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between 0 and 1. Raises `WordNetMissing` where `available` says so."""
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
