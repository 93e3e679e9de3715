"""METEOR equals a computation by hand and NLTK's own; where WordNet is missing, METEOR alone is left out."""

import pytest
from hypothesis import HealthCheck, given, settings
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.translate.meteor_score import meteor_score

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics import meteor
from drp_ray.evaluation.metrics.base import open_metrics
from drp_ray.evaluation.wordnet import WordNetMissing, load_wordnet
from tests.evaluation.metrics.texts import TEXTS_PAIR, score_row


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
@given(pair=TEXTS_PAIR)
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


@pytest.mark.parametrize(
    "part", ["nltk <nltk>", "alpha:0.9", "beta:3", "gamma:0.5", "WordNet 3.0", "NLTKWordTokenizer", "sentences:"]
)
def test_the_signature_names_implementation_version_and_tokenizer(metrics, monkeypatch, part):
    monkeypatch.setattr(meteor, "version", lambda package: f"<{package}>")
    assert part in metrics["meteor"].signature
