"""A whole dataset with the real MiniLM: vectors that differ by rounding give the same comparisons."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from drp_ray.config import Embedding, Retrieval, Selection
from drp_ray.data.sample_files import write_sample
from drp_ray.inputs.catalogue import Catalogue, build_catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.stages.comparisons import compare_item
from drp_ray.stages.embedder import make_embedder, text_id
from drp_ray.stages.items import item_row
from drp_ray.stages.retrieval import retrieve
from drp_ray.stages.strategies.base import STRATEGIES
from drp_ray.storage.folder import LocalFolder

QUICKSTART = Path(__file__).parents[2] / "jobs/quickstart.yaml"
NOISE = 1e-7
LONGEST_BATCH = 40


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """The rows of `items` that a job with the default settings makes of the generated sample."""
    folder = LocalFolder(tmp_path_factory.mktemp("noise") / "sample")
    write_sample(folder, 48, seed=0)
    dataset = Dataset.open(folder, folder.at("beside"))
    users = [user for group in dataset.row_groups() for user in dataset.read_users(group).to_pylist()]
    catalogue = Catalogue(build_catalogue(dataset))
    reviews, requests = defaultdict(list), defaultdict(list)
    for user in users:
        for review in user["profile"]:
            named = {**review, "user_id": user["user_id"], "text_id": text_id(review["text"])}
            reviews[review["item_id"]].append(named)
        found = retrieve(user["profile"], user["target"], catalogue, Retrieval(), Selection().k)
        for rank, position in enumerate(found.eligible):
            request = {"user_id": user["user_id"], "rank": rank, "target_timestamp": user["target"]["timestamp"]}
            requests[user["profile"][position]["item_id"]].append(request)
    return [item_row(catalogue, item_id, reviews[item_id], requests[item_id], 0, {}) for item_id in sorted(requests)]


@pytest.fixture(scope="module")
def texts(items):
    return {review["text_id"]: review["text"] for item in items for review in item["reviews"]}


@pytest.fixture(scope="module")
def embedder():
    return make_embedder(Embedding(**yaml.safe_load(QUICKSTART.read_text())["embedding"]))


@pytest.fixture(scope="module")
def by_length(texts, embedder):
    """All texts given to the embedder at once, which makes batches of like lengths."""
    return dict(zip(texts, embedder.encode(list(texts.values())), strict=True))


@pytest.fixture(scope="module")
def shuffled(texts, embedder):
    """The texts in a random order, given to the embedder in batches of random sizes."""
    rng = np.random.default_rng(0)
    names, vectors = list(rng.permutation(list(texts))), {}
    while len(vectors) < len(names):
        batch = names[len(vectors) : len(vectors) + int(rng.integers(1, LONGEST_BATCH))]
        vectors |= zip(batch, embedder.encode([texts[name] for name in batch]), strict=True)
    return vectors


@pytest.fixture(scope="module")
def noisy(by_length):
    rng = np.random.default_rng(0)
    return {
        name: (vector + rng.uniform(-NOISE, NOISE, len(vector))).astype(np.float32)
        for name, vector in by_length.items()
    }


def compared(items, vectors, strategy):
    """Who is compared with whom: for every (user, item) the user's group, and the representatives in order."""
    pairs = [pair for item in items for pair in compare_item(item, vectors, Selection(strategy=strategy))]
    return {
        (pair["user_id"], pair["item_id"]): (
            pair["cluster"],
            [(one["user_id"], one["cluster"]) for one in pair["representatives"]],
        )
        for pair in pairs
    }


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("others", ["shuffled", "noisy"])
def test_vectors_that_differ_by_rounding_give_the_same_comparisons(items, by_length, strategy, others, request):
    vectors = request.getfixturevalue(others)
    largest = max(float(np.abs(vectors[name] - by_length[name]).max()) for name in by_length)
    assert 0 < largest < 1e-6, "the vectors differ, and only by rounding"
    expected, found = (compared(items, each, strategy) for each in (by_length, vectors))
    assert len(expected) == sum(len(item["requested_by"]) for item in items) > 300
    assert {pair: (expected[pair], found[pair]) for pair in expected if found[pair] != expected[pair]} == {}
