"""Texts to compare, and one row scored by all metrics."""

from hypothesis import strategies as st

from drp_ray.evaluation.metrics.base import score_rows

WORDS = st.sampled_from(["the", "car", "auto", "runs", "running", "Well", "well.", "a,b", "5-star", "&amp;", "é"])
TEXTS = st.lists(WORDS, max_size=25).map(" ".join)
TEXTS_PAIR = st.tuples(TEXTS, TEXTS)
PAIRS = st.lists(TEXTS_PAIR, min_size=1, max_size=6)


def score_row(metrics, prediction, reference):
    (row,) = score_rows(list(metrics), [prediction], [reference])
    return row
