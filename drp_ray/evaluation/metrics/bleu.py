"""BLEU: n-grams in common over the whole corpus."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drp_ray.evaluation.metrics.base import Metric, Scores, metric

Draws = NDArray[np.float64]
"""A number of each draw of users."""

_ORDERS = range(1, 5)
_BLEU_COUNTS = [f"bleu_counts_{n}" for n in _ORDERS]
_BLEU_TOTALS = [f"bleu_totals_{n}" for n in _ORDERS]


@metric("bleu", "BLEU", *_BLEU_COUNTS, *_BLEU_TOTALS, "bleu_sys_len", "bleu_ref_len")
class Bleu(Metric):
    """BLEU of sacrebleu on its scale of 0 to 100: sentence level in the row, corpus level in the report.

    The statistics have sacrebleu's names: matching and all 1- to 4-grams of the prediction, and both lengths.
    """

    decimals = 2

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

    def aggregate_draws(self, sums: Mapping[str, Draws], n: Draws) -> Draws:
        """See `Metric`. Of each draw exactly what `aggregate` gives; NaN for a draw of no row."""
        correct = np.stack([sums[name] for name in _BLEU_COUNTS])
        total = np.stack([sums[name] for name in _BLEU_TOTALS])
        written, wanted = sums["bleu_sys_len"], sums["bleu_ref_len"]
        is_scored = correct.any(axis=0) & (total > 0).all(axis=0) & ((written > 0) | (wanted == 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = _each(math.log, np.where(is_scored, _smoothed(correct, total), 1.0))
            brevity = _each(math.exp, np.where(is_scored & (written < wanted), 1 - wanted / written, 0.0))
        # Added one by one, as sacrebleu does: another order could change the last digit.
        mean_log = (((logs[0] + logs[1]) + logs[2]) + logs[3]) / len(logs)
        scores = np.where(is_scored, brevity * _each(math.exp, mean_log), 0.0)
        return np.where(n == 0, math.nan, scores)


def _smoothed(correct: Draws, total: Draws) -> Draws:
    """The precisions in percent; each order without a match counts half as much as the one before it."""
    is_zero = correct == 0
    halved = 2.0 ** np.cumsum(is_zero, axis=0)
    return np.where(is_zero, 100.0 / (halved * total), 100.0 * correct / total)


def _each(function: Callable[[float], float], values: Draws) -> Draws:
    """A function of `math` on every value: NumPy's own may differ from sacrebleu's in the last digit."""
    return np.fromiter(map(function, values.ravel()), np.float64, values.size).reshape(values.shape)
