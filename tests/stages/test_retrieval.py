"""BM25 over one profile: the scores are the formula's, the order is fixed, and no text is too odd."""

import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import bm25s
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drp_ray.config import Retrieval
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.inputs.review_times import ReviewTimes
from drp_ray.stages.retrieval import bm25_scores, retrieve, text_of

K1, B = 1.5, 0.75
WORDS = st.lists(st.sampled_from(["a", "b", "c", "A", "b.", "longer"]), max_size=8).map(" ".join)
ITEMS = ["i0", "i1", "i2", "i3", "target"]
ANY_TEXT = (
    st.none() | st.text(max_size=20) | st.sampled_from(["", " \t\u2003\n", "\x00", "\ud800", "\x1c", "ı İ ß", "😀 😀"])
)


def catalogue_of(reviewers, descriptions=None):
    names = sorted(reviewers)
    return Catalogue(
        pa.table(
            {
                "item_id": names,
                "title": [f"title {name}" for name in names],
                "description": pa.array([(descriptions or {}).get(name) for name in names], pa.string()),
                "reviewers": [reviewers[name] for name in names],
            }
        )
    )


def review(item, title="", timestamp=0, text="text"):
    return {"item_id": item, "rating": 4.0, "title": title, "text": text, "timestamp": timestamp}


MANY = catalogue_of(dict.fromkeys(ITEMS, 100))
BY_TITLE = Retrieval(query=("review_title",), document=("review_title",))


def atire(documents, query):
    """BM25 as ATIRE has it (Trotman et al. 2014; Kamphuis et al. 2020, table 1): for every token of the query,
    repeated ones again, idf × tf' with idf = ln(N / df) and tf' = (k1 + 1) tf / (k1 (1 - b + b L / mean L) + tf)."""
    tokens = [document.split() for document in documents]
    mean_length = sum(map(len, tokens)) / max(len(tokens), 1)
    scores = []
    for document in tokens:
        counts, score = Counter(document), 0.0
        for word in query.split():
            documents_with = sum(word in other for other in tokens)
            if documents_with and counts[word]:
                damping = K1 * (1 - B + B * len(document) / mean_length)
                score += math.log(len(tokens) / documents_with) * (K1 + 1) * counts[word] / (damping + counts[word])
        scores.append(score)
    return scores


@given(st.lists(WORDS, max_size=8), WORDS)
@example(["a b", "a", "b b"], "a a c")
def test_scores_are_the_formulas(documents, query):
    scores = bm25_scores(documents, query, Retrieval())
    np.testing.assert_allclose(scores, atire(documents, query), rtol=1e-5, atol=1e-6)


@given(
    st.lists(WORDS | ANY_TEXT.filter(bool), min_size=1, max_size=8),
    WORDS | ANY_TEXT.filter(bool),
    st.sampled_from(["atire", "lucene", "robertson", "bm25+", "bm25l"]),
    st.booleans(),
)
def test_scores_are_bit_for_bit_those_of_an_index_of_all_tokens(documents, query, variant, lowercase):
    found = bm25_scores(documents, query, Retrieval(variant=variant, lowercase=lowercase))
    tokens = [(text.lower() if lowercase else text).split() for text in [query, *documents]]
    whole = bm25s.BM25(method=variant)
    if any(tokens[1:]):
        whole.index(tokens[1:], show_progress=False)
    known = [token for token in tokens[0] if any(token in document for document in tokens[1:])]
    plain = whole.get_scores(known) if known else np.zeros(len(documents), np.float32)
    assert found.dtype == plain.dtype and found.tobytes() == plain.tobytes()


def test_the_formula_tells_documents_apart():
    scores = bm25_scores(["a b", "a", "b b", "c"], "a a b", Retrieval())
    assert len(set(scores.tolist())) == 4


def test_tokens_are_lower_cased_only_where_that_is_asked_for():
    documents = ["Good Book", "dull"]
    assert bm25_scores(documents, "good", Retrieval()).tolist() == [0, 0]
    assert bm25_scores(documents, "good", Retrieval(lowercase=True))[0] > 0


@pytest.mark.parametrize("variant", ["lucene", "robertson", "bm25+", "bm25l"])
def test_another_variant_gives_other_scores(variant):
    documents = ["a b c", "a", "b b c", "c", "d"]
    ours, theirs = (bm25_scores(documents, "a b", Retrieval(variant=name)) for name in ("atire", variant))
    assert theirs[1] > theirs[3]
    assert not np.allclose(ours, theirs)


class TestTexts:
    catalogue = catalogue_of({"i0": 1}, {"i0": "its description"})

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            (("review_title",), "its title"),
            (("item_description", "review_title"), "its description its title"),
            (("item_title", "review_text"), "title i0 the text"),
        ],
    )
    def test_the_named_fields_are_joined_in_their_order(self, fields, text):
        assert text_of(review("i0", "its title", text="the text"), fields, self.catalogue) == text

    def test_what_is_null_is_left_out(self):
        assert text_of(review("i1", None), ("item_description", "review_title"), catalogue_of({"i1": 1})).split() == []

    def test_the_targets_text_is_not_needed(self):
        target = {"item_id": "i0", "rating": 4.0, "title": "t", "timestamp": 0}
        assert text_of(target, ("review_title", "item_title"), self.catalogue) == "t title i0"

    def test_query_and_document_fields_are_those_that_are_set(self):
        catalogue = catalogue_of(dict.fromkeys(ITEMS, 9), {"i0": "cats", "i1": "dogs", "i2": "fish"})
        profile = [review("i0", "fish"), review("i1", "cats"), review("i2", "dogs")]
        target = review("target", "cats")
        found = {
            field: retrieve(profile, target, catalogue, Retrieval(query=("review_title",), document=(field,)), 1)
            for field in ("review_title", "item_description")
        }
        assert found["review_title"].history[0] == 1
        assert found["item_description"].history[0] == 0


PROFILES = st.lists(st.builds(review, st.sampled_from(ITEMS), st.none() | WORDS, st.integers(0, 3)), max_size=10)


@given(PROFILES, WORDS, st.integers(1, 4), st.integers(0, 4), st.lists(st.integers(1, 5), min_size=5, max_size=5))
def test_history_and_eligible_are_the_best_in_order(profile, query, n, k, counts):
    reviewers = dict(zip(ITEMS, counts, strict=True))
    settings = BY_TITLE.model_copy(update={"n": n})
    found = retrieve(profile, review("target", query), catalogue_of(reviewers), settings, k)

    newest = [
        position
        for position, past in enumerate(profile)
        if not any(
            rival["item_id"] == past["item_id"] and (rival["timestamp"], other) > (past["timestamp"], position)
            for other, rival in enumerate(profile)
        )
    ]
    eligible = [position for position in newest if reviewers[profile[position]["item_id"]] - 1 >= k]
    for positions, pool in ((found.history, list(range(len(profile)))), (found.eligible, eligible)):
        titles = [profile[position]["title"] or "" for position in pool]
        score = dict(zip(pool, bm25_scores(titles, query, settings).tolist(), strict=True))
        ranked = sorted(pool, key=lambda at: (-score[at], -profile[at]["timestamp"], profile[at]["item_id"]))
        assert positions == ranked[:n]
        assert len(set(positions)) == len(positions)


def test_ties_go_to_the_more_recent_then_the_smaller_item_id():
    profile = [
        review("i3", "same", 5),
        review("i2", "other", 9),
        review("i1", "same", 5),
        review("i0", "same", 7),
        review("i2", "", 9),
    ]
    assert retrieve(profile, review("target", "same"), MANY, BY_TITLE, 1).history == [3, 2, 0, 1, 4]


def test_without_a_shared_token_the_most_recent_come_first():
    profile = [review("i0", "x", 1), review("i1", "y", 3), review("i2", "z", 2)]
    for query in ("", "nothing shared", None):
        assert retrieve(profile, review("target", query), MANY, BY_TITLE, 1).history == [1, 2, 0]


def test_an_item_with_k_other_reviewers_is_eligible_and_one_with_fewer_is_not():
    profile = [review("i0", "a"), review("i1", "b")]
    catalogue = catalogue_of({"i0": 5, "i1": 4, "target": 9})
    found = retrieve(profile, review("target"), catalogue, BY_TITLE, 4)
    assert found.eligible == [0]
    assert sorted(found.history) == [0, 1]


def test_of_several_reviews_of_an_item_the_newest_is_eligible():
    profile = [review("i0", "a b", 5), review("i0", "query", 1), review("i1", "c", 0)]
    found = retrieve(profile, review("target", "query"), MANY, BY_TITLE, 4)
    assert found.history == [1, 0, 2]
    assert found.eligible == [0, 2]


def test_an_empty_profile_has_nothing():
    found = retrieve([], review("target", "a"), MANY, BY_TITLE, 4)
    assert (found.history, found.eligible) == ([], [])


@given(
    st.lists(st.builds(review, st.sampled_from(ITEMS), ANY_TEXT, st.integers(-(2**63), 2**63 - 1)), max_size=6),
    ANY_TEXT,
    st.sampled_from(["atire", "lucene", "robertson", "bm25+", "bm25l"]),
    st.booleans(),
)
def test_no_text_is_too_odd(profile, query, variant, lowercase):
    settings = BY_TITLE.model_copy(update={"variant": variant, "lowercase": lowercase})
    found = retrieve(profile, review("target", query), MANY, settings, 4)
    assert sorted(found.history) == list(range(len(profile)))
    assert len(found.eligible) == len({past["item_id"] for past in profile})


def test_as_of_the_target_reviewers_who_came_later_make_no_item_eligible():
    moments = {"i0": [1, 2, 3, 9, 9, 9], "i1": [1, 2, 3, 4]}
    times = ReviewTimes(pa.table({"item_id": list(moments), "times": list(moments.values())}).combine_chunks())
    catalogue = catalogue_of({**{name: len(found) for name, found in moments.items()}, "target": 1})
    profile = [review("i0", timestamp=2), review("i1", timestamp=4)]
    target = review("target", "t", timestamp=5)
    assert sorted(retrieve(profile, target, catalogue, BY_TITLE, 3).eligible) == [0, 1]
    assert retrieve(profile, target, catalogue, BY_TITLE, 3, times).eligible == [1]
    assert sorted(retrieve(profile, target, catalogue, BY_TITLE, 2, times).eligible) == [0, 1]


JAX_THAT_LOOKS = """
import os
assert os.environ.get("JAX_PLATFORMS") == "cpu", "JAX would take the memory of a GPU"
print("tried")
def top_k(operand, k): return operand[:k], operand[:k]
"""


def test_jax_which_bm25s_tries_where_it_is_installed_takes_no_gpu(tmp_path):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").touch()
    (tmp_path / "jax" / "lax.py").write_text(JAX_THAT_LOOKS)
    program = "from drp_ray.stages.retrieval import import_bm25s; import_bm25s()"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "tried\n"
