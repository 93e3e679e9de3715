"""Which rows the measurement of prefix reuse asks, and in which order."""

import hashlib
import itertools
from collections import Counter

import pytest

from benchmarks import prefix_reuse
from benchmarks.prefix_reuse import VARIANTS, Compared
from drp_ray.data.sample_files import write_sample
from drp_ray.engines.base import Completion
from drp_ray.prompts.pack import PromptPack
from drp_ray.storage.folder import LocalFolder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reuse")
    write_sample(LocalFolder(folder), 48, seed=0)
    return prefix_reuse.comparisons_of(folder, 40)


def prompts_of(variant, rows):
    shared, pack = prefix_reuse.shared_groups(rows), PromptPack.load()
    return [str(pack.open_extraction(variant.arrange(row, shared), ()).messages()) for row in variant.order(rows)]


def test_items_stay_together_in_every_order_but_the_shuffled_one(rows):
    for name, variant in VARIANTS.items():
        items = [row.item_id for row in variant.order(rows)]
        changes = sum(one != other for one, other in itertools.pairwise(items))
        assert (changes == len(set(items)) - 1) == ("shuffled" not in name), name


def test_the_order_of_rows_changes_no_prompt_and_the_order_of_representatives_does(rows):
    usual = Counter(prompts_of(VARIANTS["as it is"], rows))
    assert Counter(prompts_of(VARIANTS["rows by group"], rows)) == usual
    assert Counter(prompts_of(VARIANTS["shared first"], rows)) != usual


def test_nobody_is_compared_with_their_own_group(rows):
    assert all(row.own_group not in row.groups and len(row.groups) <= 4 for row in rows)
    assert all(len(row.groups) == len(row.comparison["representatives"]) for row in rows)


def test_what_most_pairs_of_an_item_have_comes_first():
    comparison = {"representatives": ["of 0", "of 1", "of 2"]}
    row = Compared(comparison, "i", 3, (0, 1, 2))
    shared = {"i": Counter({0: 1, 1: 5, 2: 3})}
    assert prefix_reuse.shared_first(row, shared)["representatives"] == ["of 1", "of 2", "of 0"]
    assert comparison["representatives"] == ["of 0", "of 1", "of 2"]


def test_a_text_keeps_its_length_in_english():
    review = {"text": hashlib.sha256(b"x").hexdigest() * 9}
    english = prefix_reuse.in_english(review)["text"]
    assert len(english) == len(review["text"]) and english == prefix_reuse.in_english(review)["text"]
    assert english != review["text"]


def test_the_share_is_of_all_prompt_tokens():
    done = [Completion("", "stop", 100, 40, 1), Completion("", "stop", 300, 40, 1)]
    assert prefix_reuse.share_cached(done) == 0.2
