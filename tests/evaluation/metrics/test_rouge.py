"""ROUGE equals a count by hand and a plain computation."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drp_ray.evaluation.metrics import rouge


def longest_common_subsequence(left, right):
    if not left or not right:
        return 0
    if left[-1] == right[-1]:
        return 1 + longest_common_subsequence(left[:-1], right[:-1])
    return max(longest_common_subsequence(left[:-1], right), longest_common_subsequence(left, right[:-1]))


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


def test_the_signature_names_implementation_version_and_tokenizer(metrics, monkeypatch):
    monkeypatch.setattr(rouge, "version", lambda package: f"<{package}>")
    assert metrics["rouge1"].signature == "rouge-score <rouge-score>|rouge1 F1|tok:default [a-z0-9]+|case:lower|stem:no"
    assert metrics["rougeL"].signature.startswith("rouge-score <rouge-score>|rougeL F1|")
