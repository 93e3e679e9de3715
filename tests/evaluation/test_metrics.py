"""Scores equal hand computation and the libraries' own, whatever the text and however rows are split."""

import math
from collections import Counter

import pyarrow as pa
import pytest
import sacrebleu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.translate.meteor_score import meteor_score

from drp_ray.config import Evaluation
from drp_ray.errors import BadInput
from drp_ray.evaluation.metrics import base, meteor, rouge
from drp_ray.evaluation.metrics.base import METRICS, Metric, metric, open_metrics, score_rows, scores_schema
from drp_ray.evaluation.sentences import split_sentences
from drp_ray.evaluation.wordnet import WordNetMissing, load_wordnet

NAMES = ["rouge1", "rougeL", "meteor", "bleu"]

WORDS = st.sampled_from(["the", "car", "auto", "runs", "running", "Well", "well.", "a,b", "5-star", "&amp;", "é"])
TEXTS = st.lists(WORDS, max_size=25).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def metrics(wordnet_folder):
    return {each.name: each for each in open_metrics(Evaluation(), wordnet_folder.parent)}


@pytest.fixture(scope="module")
def reader(wordnet_folder):
    return load_wordnet(wordnet_folder)


@pytest.fixture
def without_wordnet(monkeypatch):
    asked = []

    def missing(cache):
        asked.append(cache)
        raise WordNetMissing("no WordNet here: do this")

    monkeypatch.setattr(meteor, "obtain_wordnet", missing)
    return asked


def score_row(metrics, prediction, reference):
    (row,) = score_rows(list(metrics), [prediction], [reference])
    return row


def column_sums(rows):
    return {name: sum(row[name] for row in rows) for name in rows[0]}


def longest_common_subsequence(left, right):
    if not left or not right:
        return 0
    if left[-1] == right[-1]:
        return 1 + longest_common_subsequence(left[:-1], right[:-1])
    return max(longest_common_subsequence(left[:-1], right), longest_common_subsequence(left, right[:-1]))


def test_registry_has_the_papers_metrics():
    assert set(NAMES) <= set(METRICS)


def test_rouge_counts_by_hand(metrics):
    prediction, reference = "The cat sat, the cat!", "A cat sat on the mat"
    # In common: the, cat, sat. 5 predicted words, 6 in the reference: P = 3/5, R = 3/6.
    assert metrics["rouge1"].score(prediction, reference) == {"rouge1": pytest.approx(6 / 11)}
    # Longest common subsequence: cat sat the.
    assert metrics["rougeL"].score(prediction, reference) == {"rougeL": pytest.approx(6 / 11)}
    assert metrics["rougeL"].score("cat the sat", reference) == {"rougeL": pytest.approx(4 / 9)}


def test_rouge_does_not_stem(metrics):
    assert metrics["rouge1"].score("loves", "loved") == {"rouge1": 0.0}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prediction=st.lists(st.sampled_from("abcd"), max_size=8),
    reference=st.lists(st.sampled_from("abcd"), max_size=8),
)
def test_rouge_equals_plain_computation(metrics, prediction, reference):
    common = (Counter(prediction) & Counter(reference)).total()
    subsequence = longest_common_subsequence(prediction, reference)
    both = max(len(prediction) + len(reference), 1)
    texts = " ".join(prediction), " ".join(reference)
    assert metrics["rouge1"].score(*texts)["rouge1"] == pytest.approx(2 * common / both)
    assert metrics["rougeL"].score(*texts)["rougeL"] == pytest.approx(2 * subsequence / both)


def test_bleu_statistics_by_hand(metrics):
    row = metrics["bleu"].score("the cat sat here", "the cat sat on it")
    assert [row[f"bleu_counts_{n}"] for n in (1, 2, 3, 4)] == [3, 2, 1, 0]
    assert [row[f"bleu_totals_{n}"] for n in (1, 2, 3, 4)] == [4, 3, 2, 1]
    assert (row["bleu_sys_len"], row["bleu_ref_len"]) == (4, 5)
    # The 4-gram without a match counts as one half (exponential smoothing); brevity exp(1 - 5/4).
    expected = 100 * math.exp(1 - 5 / 4) * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25
    assert row["bleu"] == pytest.approx(expected)
    assert metrics["bleu"].aggregate(row, 1) == pytest.approx(expected)


def test_bleu_of_the_same_text_is_100(metrics):
    assert metrics["bleu"].score("Quite a good record.", "Quite a good record.")["bleu"] == pytest.approx(100)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=PAIRS)
def test_bleu_from_sums_is_sacrebleus_corpus_value(metrics, pairs):
    rows = [metrics["bleu"].score(*pair) for pair in pairs]
    predictions, references = zip(*pairs, strict=True)
    expected = sacrebleu.corpus_bleu(list(predictions), [list(references)])
    sums = column_sums(rows)
    assert metrics["bleu"].aggregate(sums, len(rows)) == expected.score
    assert metrics["bleu"].aggregate({name: float(total) for name, total in sums.items()}, 1) == expected.score


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=st.tuples(TEXTS, TEXTS))
def test_bleu_of_a_row_is_sacrebleus_sentence_value(metrics, pair):
    expected = sacrebleu.sentence_bleu(pair[0], [pair[1]], use_effective_order=True)
    assert metrics["bleu"].score(*pair)["bleu"] == expected.score


def test_meteor_by_hand(metrics):
    # 3 matches in 2 chunks (a | on mat), P = 3/4, R = 3/5; lower case first.
    value = metrics["meteor"].score("A quick on mat", "a dog sat on mat")["meteor"]
    precision, recall = 3 / 4, 3 / 5
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    assert value == pytest.approx(mean * (1 - 0.5 * (2 / 3) ** 3))


def test_meteor_matches_stems_and_synonyms(metrics):
    one_match = 0.5  # P = R = 1, one chunk of one match: 1 - 0.5 * 1 ** 3
    assert metrics["meteor"].score("running", "runs")["meteor"] == pytest.approx(one_match)
    assert metrics["meteor"].score("car", "auto")["meteor"] == pytest.approx(one_match)
    assert metrics["meteor"].score("car", "banana")["meteor"] == 0.0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=st.tuples(TEXTS, TEXTS))
def test_meteor_equals_nltks_own_on_the_same_words(metrics, reader, pair):
    prediction, reference = (metrics["meteor"].tokenize(text) for text in pair)
    expected = meteor_score([reference], prediction, wordnet=reader, alpha=0.9, beta=3, gamma=0.5)
    assert metrics["meteor"].score(*pair)["meteor"] == expected


def test_meteor_words_are_nltks_for_every_sentence(metrics):
    text = "I loved it. Don't miss this (really)!"
    assert metrics["meteor"].tokenize(text) == [
        *NLTKWordTokenizer().tokenize("I loved it."),
        *NLTKWordTokenizer().tokenize("Don't miss this (really)!"),
    ]
    assert metrics["meteor"].tokenize(text)[:5] == ["I", "loved", "it", ".", "Do"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Really?! Yes... No.", ["Really?!", "Yes...", "No."]),
        (
            'He said "go." Then (he left.) "Why?" Nobody.',
            ['He said "go."', "Then (he left.)", '"Why?"', "Nobody."],
        ),
        ("Mr. Darcy met Dr. Who vs. Mrs. X. He won.", ["Mr. Darcy met Dr. Who vs. Mrs. X. He won."]),
        ("By J. R. R. Tolkien. Good.", ["By J. R. R. Tolkien.", "Good."]),
        ("It is 3.5 stars, e.g. this one. 5 stars.", ["It is 3.5 stars, e.g. this one.", "5 stars."]),
        ("Line one.\n\nLine two. Été.", ["Line one.", "Line two.", "Été."]),
        ("He is a star. Best.", ["He is a star.", "Best."]),
        ("", [""]),
        ("  \n", [""]),
    ],
)
def test_sentences_are_split_by_rule(text, sentences):
    assert split_sentences(text) == sentences


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_splitting_loses_nothing_but_white_space(text):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prediction=st.text() | TEXTS, reference=st.text() | TEXTS)
def test_any_text_has_scores_in_range_that_fit_the_schema(metrics, prediction, reference):
    row = score_row(metrics.values(), prediction, reference)
    table = pa.Table.from_pylist([{"user_id": "u", **row}], schema=scores_schema())
    assert table.to_pylist() == [{"user_id": "u", **row}]
    for name in NAMES:
        assert 0 <= row[name] <= (100.0001 if name == "bleu" else 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prediction", ["", " \n\t ", "..."])
def test_nothing_predicted_scores_zero(metrics, name, prediction):
    assert metrics[name].score(prediction, "A good record")[name] == 0.0
    assert metrics[name].score("A good record", "")[name] == 0.0


def test_columns_are_what_score_returns(metrics):
    for each in metrics.values():
        assert [field.name for field in each.columns] == list(each.score("a b", "a c"))
    assert scores_schema().names[:4] == ["user_id", "rouge1", "rougeL", "bleu"]


def test_row_without_prediction_has_no_scores(metrics):
    assert score_row(metrics.values(), None, "text") == dict.fromkeys(scores_schema().names[1:])


@pytest.mark.parametrize("name", ["rouge1", "rougeL", "meteor"])
def test_report_is_the_mean_over_scored_rows(metrics, name):
    assert metrics[name].aggregate({name: 1.5}, 6) == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_report_over_no_row_is_not_a_number(metrics, name):
    assert math.isnan(metrics[name].aggregate(dict.fromkeys([field.name for field in metrics[name].columns], 0), 0))


def test_missing_wordnet_leaves_out_meteor_only(without_wordnet, metrics, tmp_path, caplog):
    opened = {each.name: each for each in open_metrics(Evaluation(), tmp_path)}
    rows = [score_row(opened.values(), "the car", "the automobile") for _ in range(3)]
    expected = score_row(metrics.values(), "the car", "the automobile")
    assert rows == [{**expected, "meteor": None}] * 3
    assert expected["meteor"] > 0
    assert opened["meteor"].missing() == "no WordNet here: do this"
    assert without_wordnet == [tmp_path / "wordnet-3.0"], "the search is not repeated for every row"
    assert "METEOR is left out. no WordNet here: do this" in caplog.text


def test_other_metrics_never_miss_anything(without_wordnet, tmp_path):
    opened = {each.name: each for each in open_metrics(Evaluation(), tmp_path)}
    assert [opened[name].missing() for name in ("rouge1", "rougeL", "bleu")] == [None] * 3
    assert without_wordnet == []


def test_meteor_misses_nothing_with_wordnet(metrics):
    assert metrics["meteor"].missing() is None


@given(rows=st.lists(st.tuples(st.none() | TEXTS, TEXTS), max_size=6))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_rows_at_once_score_as_they_do_one_by_one(metrics, rows):
    together = score_rows(list(metrics.values()), [text for text, _ in rows], [text for _, text in rows])
    assert together == [score_row(metrics.values(), *row) for row in rows]


def test_signatures_name_implementation_version_and_tokenizer(metrics, monkeypatch):
    for module in (meteor, rouge):
        monkeypatch.setattr(module, "version", lambda package: f"<{package}>")
    assert metrics["rouge1"].signature == "rouge-score <rouge-score>|rouge1 F1|tok:default [a-z0-9]+|case:lower|stem:no"
    assert metrics["rougeL"].signature.startswith("rouge-score <rouge-score>|rougeL F1|")
    for part in (
        "nltk <nltk>",
        "alpha:0.9",
        "beta:3",
        "gamma:0.5",
        "WordNet 3.0",
        "NLTKWordTokenizer",
        "sentences:",
    ):
        assert part in metrics["meteor"].signature
    assert metrics["bleu"].signature == (
        f"sacrebleu corpus BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    )


@pytest.mark.parametrize(
    ("settings_of", "says"),
    [
        ({"rouge2": {}}, r"evaluation\.metrics: there is no metric 'rouge2'; did you mean rouge"),
        ({"meteor": {"alpha": 1}}, r"evaluation\.metrics\.meteor: alpha: unknown setting"),
    ],
)
def test_a_setting_for_no_metric_or_no_setting_of_it_is_bad_input(tmp_path, settings_of, says):
    with pytest.raises(BadInput, match=says):
        open_metrics(Evaluation(metrics=settings_of), tmp_path)


def test_a_new_metric_is_one_decorated_class_with_settings_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(base, "METRICS", {})

    @metric("length", "length ratio", "words")
    class Length(Metric):
        class Settings(base.Section):
            per: int = 1

        @property
        def signature(self):
            return f"length|per:{self.settings.per}"

        def score(self, prediction, reference):
            ratio = len(prediction) / len(reference) / self.settings.per
            return {"length": ratio, "words": len(prediction.split())}

    assert scores_schema() == pa.schema([("user_id", pa.string()), ("length", pa.float64()), ("words", pa.int64())])
    opened = open_metrics(Evaluation(metrics={"length": {"per": 2}}), tmp_path)
    assert score_row(opened, "a b", "abcdef") == {"length": 0.25, "words": 2}
    assert base.signatures(Evaluation()) != base.signatures(Evaluation(metrics={"length": {"per": 2}}))
