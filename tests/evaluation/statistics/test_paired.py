"""Laws of comparing runs: equal runs do not differ, and neither noise nor what stands beside them changes a number."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import open_metrics, score_rows
from drp_ray.evaluation.statistics import Measured, Resampling, compare_runs, numbers_of_executions
from drp_ray.evaluation.statistics.measured import is_mean, user_differences
from drp_ray.evaluation.statistics.paired import ALL_EQUAL, NO_MEAN, NO_USERS, TOO_FEW, TOO_FEW_DRAWS, TOO_FEW_ITEMS

METRICS = {metric.name: metric for metric in open_metrics(Evaluation(), Path("/nowhere"))}
ROUGE, BLEU = METRICS["rouge1"], METRICS["bleu"]
QUICK = Resampling(draws=300)


def values(*columns):
    """Executions of a mean with these values; NaN is no value."""
    return [np.column_stack([np.isfinite(each), np.nan_to_num(each)]).astype(float) for each in map(np.array, columns)]


def drawn(users, seed=0, shift=0.0, executions=1):
    random = np.random.default_rng(seed)
    return values(*(random.random(users) + shift for _ in range(executions)))


def of_texts(*executions):
    """Executions of BLEU with these (prediction, reference)."""
    names = [field.name for field in BLEU.columns]
    rows = [score_rows([BLEU], *zip(*pairs, strict=True)) for pairs in executions]
    return [np.array([[1.0, *(row[name] for name in names)] for row in each]) for each in rows]


def pairs_of(measure, items=None, resampling=QUICK, **runs):
    users = len(next(iter(runs.values()))[0])
    items = np.arange(users) if items is None else np.array(items)
    return compare_runs([Measured(measure, runs)], items, resampling)[measure.name]


def pair_of(a, b, measure=ROUGE, **options):
    (pair,) = pairs_of(measure, a=a, b=b, **options)
    return pair


@pytest.mark.parametrize("users", [6, 40])
@pytest.mark.parametrize("executions", [1, 3])
def test_equal_runs_do_not_differ(users, executions):
    a = drawn(users, executions=executions)
    pair = pair_of(a, a)
    assert (pair.difference, pair.ci95, pair.ci95_by_item, pair.se) == (0.0, (0.0, 0.0), (0.0, 0.0), 0.0)
    assert (pair.p_permutation, pair.p_holm, pair.p_t, pair.smallest_effect) == (1.0, 1.0, None, None)
    assert pair.notes["p_t"] == pair.notes["smallest_effect"] == ALL_EQUAL


def test_the_same_difference_for_everybody_has_no_interval_and_only_the_p_that_swapping_gives():
    pair = pair_of(drawn(8, shift=0.25), drawn(8))
    assert (pair.ci95, pair.p_t, pair.smallest_effect) == (None, None, None)
    assert pair.p_permutation == 2 / 2**8


@pytest.mark.parametrize(("users", "p"), [(1, 1.0), (2, 0.5)])
def test_one_or_two_users_show_nothing(users, p):
    pair = pair_of(drawn(users, shift=1), drawn(users, seed=1))
    assert pair.n == users and pair.difference > 0 and pair.p_permutation == p
    for name in ("se", "ci95", "ci95_by_item", "p_t", "smallest_effect"):
        assert getattr(pair, name) is None and pair.notes[name] == TOO_FEW


def test_from_three_to_five_users_an_interval_bears_a_warning_and_p_cannot_be_small():
    pair = pair_of(drawn(5, shift=1), drawn(5, seed=1))
    assert pair.ci95[0] > 0 and "too narrow" in pair.notes["ci95"] and pair.p_permutation == 2 / 2**5


@pytest.mark.parametrize("users", [0, 3])
def test_without_a_value_there_is_no_number(users):
    pair = pair_of(values([np.nan] * users), values([0.5] * users))
    assert (pair.difference, pair.p_permutation, pair.p_holm) == (None, None, None)
    assert pair.notes["difference"] == NO_USERS


def test_no_interval_by_item_from_two_items():
    pair = pair_of(drawn(8), drawn(8, seed=1), items=[0, 1] * 4)
    assert pair.ci95_by_item is None and pair.notes["ci95_by_item"] == TOO_FEW_ITEMS and pair.ci95 is not None


def test_where_every_user_has_an_item_alone_both_intervals_are_of_the_same_kind():
    pair = pair_of(drawn(200), drawn(200, seed=1), resampling=Resampling(4_000))
    assert pair.ci95_by_item == pytest.approx(pair.ci95, abs=0.01)
    doubled = (
        [np.repeat(matrix, 2, axis=0) for matrix in drawn(200)],
        [np.repeat(matrix, 2, axis=0) for matrix in drawn(200, seed=1)],
    )
    by_item = pair_of(*doubled, items=np.repeat(np.arange(200), 2), resampling=Resampling(4_000))
    assert by_item.ci95_by_item == pytest.approx(pair.ci95, abs=0.01), "users beside each other are no new evidence"
    assert np.diff(by_item.ci95) == pytest.approx(np.diff(pair.ci95) / np.sqrt(2), rel=0.1)


@given(seed=st.integers(0, 99), users=st.integers(3, 30), executions=st.integers(1, 3))
@settings(max_examples=20)
def test_turned_round_the_difference_turns_and_the_tests_stay(seed, users, executions):
    a, b = drawn(users, seed, executions=executions), drawn(users, seed + 100, 0.1)
    one, other = pair_of(a, b), pair_of(b, a)
    assert other.difference == pytest.approx(-one.difference)
    assert other.ci95 == pytest.approx((-one.ci95[1], -one.ci95[0]))
    assert other.ci95_by_item == pytest.approx((-one.ci95_by_item[1], -one.ci95_by_item[0]))
    assert other.p_t == pytest.approx(one.p_t) and other.smallest_effect == pytest.approx(one.smallest_effect)
    if users <= 14:
        assert other.p_permutation == one.p_permutation


@given(noise=st.integers(0, 99), users=st.sampled_from([9, 40]))
@settings(max_examples=10)
def test_noise_of_rounding_changes_nothing(noise, users):
    # Values that tie often: what is as large as the observed difference may not hang on the last digit.
    a, b = (np.random.default_rng(seed).integers(4, size=users) / 3 for seed in (1, 2))
    tiny = np.random.default_rng(noise).uniform(-1e-14, 1e-14, users)
    before, after = pair_of(values(a), values(b)), pair_of(values(a + tiny), values(b))
    assert (after.p_permutation, after.p_holm) == (before.p_permutation, before.p_holm)
    assert (*after.ci95, after.p_t) == pytest.approx((*before.ci95, before.p_t), rel=1e-9)


def test_measures_and_runs_beside_change_nothing_but_holms_correction():
    a, b, c = drawn(30), drawn(30, 1, 0.2), drawn(30, 2)
    alone = pair_of(a, b)
    texts = of_texts([("the car runs well today", "the car runs")] * 30)
    beside = compare_runs([Measured(BLEU, {"a": texts, "b": texts}), Measured(ROUGE, {"a": a, "b": b, "c": c})],
                          np.arange(30), QUICK)  # fmt: skip
    first, second = beside["rouge1"]
    for name in ("difference", "ci95", "ci95_by_item", "p_permutation", "p_t", "smallest_effect"):
        assert getattr(first, name) == pytest.approx(getattr(alone, name), rel=1e-12)
    assert alone.p_holm == alone.p_permutation
    smaller, larger = sorted([first, second], key=lambda pair: pair.p_permutation)
    assert smaller.p_holm == min(2 * smaller.p_permutation, 1)
    assert larger.p_holm == max(larger.p_permutation, smaller.p_holm)


def test_an_interval_of_a_mean_is_scipys():
    a, b = drawn(80, 3), drawn(80, 4, 0.1)
    pair = pair_of(a, b, resampling=Resampling(20_000))
    differences = a[0][:, 1] - b[0][:, 1]
    expected = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    assert pair.ci95 == pytest.approx(tuple(expected.confidence_interval), abs=0.003)
    assert pair.se == pytest.approx(stats.sem(differences))
    assert pair.p_t == pytest.approx(stats.ttest_rel(a[0][:, 1], b[0][:, 1]).pvalue)
    by_coin = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1)
    assert pair.p_permutation == pytest.approx(by_coin.pvalue, abs=0.01)


WORDS = st.lists(st.sampled_from(["the", "car", "runs", "well", "today", "."]), min_size=4, max_size=9).map(" ".join)


@given(rows=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=3, max_size=6))
@settings(max_examples=25)
def test_bleu_is_tested_by_swapping_the_texts_themselves(rows):
    references = [reference for *_, reference in rows]

    def bleu(predictions):
        return sacrebleu.corpus_bleu(list(predictions), [references]).score

    swapped = []
    for coins in product((0, 1), repeat=len(rows)):
        sides = [(b, a) if coin else (a, b) for coin, (a, b, _) in zip(coins, rows, strict=True)]
        swapped.append(bleu(a for a, _ in sides) - bleu(b for _, b in sides))
    pair = pair_of(of_texts([(a, ref) for a, _, ref in rows]), of_texts([(b, ref) for _, b, ref in rows]), BLEU)
    assert pair.difference == pytest.approx(swapped[0], abs=1e-9)
    large = [abs(each) >= abs(swapped[0]) - 1e-9 * max(map(abs, swapped)) for each in swapped]
    assert pair.p_permutation == pytest.approx(np.mean(large))
    assert pair.p_t is None and pair.notes["p_t"] in (NO_MEAN, ALL_EQUAL)


def test_executions_are_averaged_within_the_user_first():
    random = np.random.default_rng(0)
    hot, cold, other = random.random((3, 25))
    whole = pair_of(values(hot, cold), values(other))
    averaged = pair_of(values((hot + cold) / 2), values(other))
    for name in ("difference", "se", "ci95", "ci95_by_item", "p_permutation", "p_t"):
        assert getattr(whole, name) == pytest.approx(getattr(averaged, name), rel=1e-12), name


@pytest.mark.parametrize("measure", [ROUGE, BLEU], ids=["mean", "corpus"])
def test_an_execution_twice_is_no_new_evidence(measure):
    texts = [("the car runs", "well today ."), ("the well runs today", "the car")] * 10
    other = [("the car runs well today", reference) for _, reference in texts]
    make = of_texts if measure is BLEU else lambda pairs: values([float(len(a)) for a, _ in pairs])
    once, twice = pair_of(make(texts), make(other), measure), pair_of(make(texts) * 2, make(other) * 3, measure)
    assert (twice.difference, twice.se, twice.p_permutation, *twice.ci95) == pytest.approx(
        (once.difference, once.se, once.p_permutation, *once.ci95)
    )


def test_of_several_executions_bleu_is_the_mean_of_their_corpus_values():
    first = [("the car runs well today", "the car runs well"), ("a b c d e", "a b c d f")]
    second = [("the car", "the car runs well"), ("a b c d f", "a b c d f")]
    numbers = numbers_of_executions(BLEU, of_texts(first, second))
    assert numbers == [sacrebleu.corpus_bleu([a for a, _ in each], [[b for _, b in each]]).score
                       for each in (first, second)]  # fmt: skip
    assert pair_of(of_texts(first, second), of_texts(first), BLEU).difference == pytest.approx(
        np.mean(numbers) - numbers[0]
    )


def test_executions_on_samples_of_users_each_count_for_their_own():
    a = values([1.0, 2.0, np.nan, np.nan], [np.nan, 4.0, 5.0, 6.0])
    assert numbers_of_executions(ROUGE, a) == [1.5, 5.0]
    zeros = values([0.0, 0.0, np.nan, np.nan], [np.nan, 0.0, 0.0, 0.0])
    pair = pair_of(a, zeros)
    assert (pair.difference, pair.n) == (3.25, 4)
    assert user_differences(ROUGE, a, zeros).mean() == 3.25


SAMPLES = st.lists(st.sets(st.integers(0, 59), min_size=20).map(sorted), min_size=1, max_size=4)
"""Users of each execution."""


def on_samples(samples, *runs):
    """Each run's values (a column an execution), where an execution has only the users of its sample."""
    absent = [np.isin(np.arange(60), sample, invert=True) for sample in samples]
    return [values(*(np.where(gone, np.nan, run[:, place]) for place, gone in enumerate(absent))) for run in runs]


@given(samples=SAMPLES, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_whatever_the_samples_all_numbers_of_a_pair_are_of_one_difference(samples, seed):
    random = np.random.default_rng(seed)
    easy, better = random.normal(5, 1, (60, 1)), random.normal(0.1, 0.2, (60, 1))
    a, b = on_samples(samples, easy + better + random.normal(0, 0.1, (60, 4)), np.tile(easy, 4))
    pair = pair_of(a, b, resampling=Resampling(2_000))
    differences = user_differences(ROUGE, a, b)
    assert differences.mean() == pytest.approx(pair.difference)
    assert pair.se == pytest.approx(stats.sem(differences))
    assert np.diff(pair.ci95)[0] == pytest.approx(2 * 1.96 * pair.se, rel=0.2)
    assert pair.p_t == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


@given(samples=SAMPLES, shift=st.sampled_from([0.0, 0.25]))
@settings(max_examples=25)
def test_whatever_the_samples_the_same_difference_for_everybody_is_the_difference(samples, shift):
    easy = np.tile(np.random.default_rng(0).integers(8, size=(60, 1)) / 8, 4)
    pair = pair_of(*on_samples(samples, easy + shift, easy))
    assert pair.difference == pytest.approx(shift, abs=1e-12) and pair.se == 0.0


def test_a_measure_is_a_mean_where_its_number_is_that_of_the_users_own():
    class Tenth:
        name, title, columns = ROUGE.name, "S", ROUGE.columns

        def aggregate(self, sums, n):
            return sums[self.name] / n / 10

    class Root(Tenth):
        def aggregate(self, sums, n):
            return (sums[self.name] / n) ** 0.5

    assert [is_mean(each) for each in (ROUGE, Tenth(), Root(), BLEU)] == [True, True, False, False]


def test_one_draw_says_nothing_of_how_a_difference_varies():
    pair = pair_of(values([0.1, 0.5, 0.3]), values([0.2, 0.1, 0.4]), resampling=Resampling(draws=1))
    assert (pair.se, pair.ci95, pair.smallest_effect) == (None, None, None)
    assert pair.notes["ci95"] == TOO_FEW_DRAWS


def test_seeds_decide_the_draws():
    a, b = drawn(30), drawn(30, 1)
    assert pair_of(a, b) == pair_of(a, b)
    assert pair_of(a, b).ci95 != pair_of(a, b, resampling=replace(QUICK, seed=1)).ci95
