"""Whatever the data, every user gets a row and nothing raises: the stages' own functions, chained without Ray."""

import asyncio
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import Embedding, Retrieval, Selection
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.llm.row_caller import RoleSpec
from drp_ray.methods.base import DIFFERENCES, METHODS
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages.comparisons import compare_item
from drp_ray.stages.contexts import context_of, with_items
from drp_ray.stages.differences import FindDifferences, found_differences
from drp_ray.stages.embedder import text_id
from drp_ray.stages.items import item_row
from drp_ray.stages.peers_contrast import WANTED, Contrast
from drp_ray.stages.peers_neighbour import nearest_users
from drp_ray.stages.predictions import Predict
from drp_ray.stages.retrieval import retrieve
from tests.fakes import HashEmbedder

ITEMS = ["i0", "i1", "i2"]
TEXTS = st.sampled_from(["", " ", "the same text", "the same text", "x" * 20_000, "\x00", "<think>"]) | st.text()
REVIEWS = st.fixed_dictionaries(
    {
        "item_id": st.sampled_from(ITEMS),
        "rating": st.floats(1, 5),
        "title": st.none() | TEXTS,
        "text": TEXTS,
        "timestamp": st.integers(0, 3),
    }
)
PROFILES = st.lists(REVIEWS, max_size=4).map(lambda reviews: sorted(reviews, key=lambda review: review["timestamp"]))
PEOPLE = st.lists(st.tuples(PROFILES, REVIEWS), min_size=1, max_size=5)
CATALOGUES = st.lists(st.tuples(st.none() | TEXTS, st.none() | TEXTS), min_size=3, max_size=3)
STRATEGIES = st.sampled_from(["kmeans", "random", "simrank"])
SETTINGS = st.builds(
    Selection, strategy=STRATEGIES, k=st.integers(1, 3), n_init=st.just(1), as_of=st.sampled_from(["none", "target"])
)
METHOD_NAMES = sorted({"nonperso", "rag", "intsum", "llm-trsr", "cicl", "persona-db", "dpl", "drp"})


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thin")
    (folder / "script").write_text(json.dumps({}))
    return folder


def answered(worker, rows):
    """Run a stage's worker over one part."""

    async def run():
        await worker.start(lambda **counts: None)
        try:
            return await worker.work("part-00000.parquet", rows, None)
        finally:
            await worker.close()

    return asyncio.run(run())


def models_of(programme, scratch):
    spec = ModelSpec(engine="tests.fakes:ScriptedEngine", id=str(scratch / "script"))
    roles = {role: RoleSpec("llm", Sampling(temperature=0, top_p=1, max_tokens=8)) for role in programme.roles}
    return {"models": {"llm": spec}, "roles": roles, "seed": 0, "max_attempts": 1}


def catalogue_of(users, told):
    rows = [
        {
            "item_id": item_id,
            "title": title,
            "description": description,
            "reviewers": sum(any(review["item_id"] == item_id for review in user["profile"]) for user in users),
        }
        for item_id, (title, description) in zip(ITEMS, told, strict=True)
    ]
    columns = schema.CATALOGUE.append(pa.field("reviewers", pa.int64()))
    return Catalogue(pa.Table.from_pylist(rows, columns).combine_chunks())


def comparisons_of(users, retrieved, items, selection, embedder):
    """The (user, item) pairs, as the items and comparisons stages make them."""
    pairs = []
    for item_id in ITEMS:
        reviews = [
            {**review, "user_id": user["user_id"], "text_id": text_id(review["text"])}
            for user in users
            for review in user["profile"]
            if review["item_id"] == item_id
        ]
        requests = [
            {"user_id": user["user_id"], "rank": rank, "target_timestamp": user["target"]["timestamp"]}
            for user in users
            for rank, position in enumerate(retrieved[user["user_id"]].eligible)
            if user["profile"][position]["item_id"] == item_id
        ]
        if requests:
            row = item_row(items, item_id, reviews, requests, 0, {})
            texts = {review["text_id"]: review["text"] for review in row["reviews"]}
            vectors = dict(zip(texts, embedder.encode(list(texts.values())), strict=True))
            pairs += compare_item(row, vectors, selection)
    return pa.Table.from_pylist(pairs, schema.COMPARISONS)


def peers_of(method, users, retrieved, items, selection, embedder):
    """The reviews by others that the method shows, in the way of the finders."""
    by_id = {user["user_id"]: user for user in users}
    if METHODS[method].needs.name == "contrast":
        wanted = []
        for user in users:
            ranked = [user["profile"][position] for position in retrieved[user["user_id"]].history]
            shared = next((review for review in ranked if items[review["item_id"]].reviewers > 1), None)
            if shared:
                row = {"part": 0, "user_id": user["user_id"], "item_id": shared["item_id"], "text": shared["text"]}
                wanted.append({**row, "until": user["target"]["timestamp"]})
        finder = Contrast(None, None, None, 0, selection.as_of)
        found = finder.search(
            pa.Table.from_pylist(users, schema.USERS), pa.Table.from_pylist(wanted, WANTED)
        ).to_pylist()
        return {row["for_user"]: [{name: row[name] for name in ("user_id", *schema.REVIEW.names)}] for row in found}
    if METHODS[method].needs.name == "neighbour":
        known = sorted(user["user_id"] for user in users if user["profile"])
        means = [embedder.encode([review["text"] for review in by_id[name]["profile"]]).mean(axis=0) for name in known]
        nearest = nearest_users(list(by_id), known, np.stack(means)) if means else {}
        return {
            user_id: [{"user_id": peer, **review} for review in by_id[peer]["profile"]]
            for user_id, peer in nearest.items()
        }
    return {}


@given(people=PEOPLE, told=CATALOGUES, selection=SETTINGS, n=st.integers(1, 3), method=st.sampled_from(METHOD_NAMES))
@settings(max_examples=60)
def test_every_user_gets_a_row(scratch, people, told, selection, n, method):
    users = [{"user_id": f"u{n}", "profile": profile, "target": target} for n, (profile, target) in enumerate(people)]
    items, embedder = catalogue_of(users, told), HashEmbedder(Embedding(model=str(scratch / "log")))
    retrieved = {
        user["user_id"]: retrieve(user["profile"], user["target"], items, Retrieval(n=n), selection.k) for user in users
    }
    differences = []
    if METHODS[method].needs.name == "differences":
        programme = DIFFERENCES[method]
        comparisons = comparisons_of(users, retrieved, items, selection, embedder)
        models = models_of(programme, scratch)
        worker = FindDifferences(**models, programme=programme, prompts=PromptPack.load(), dimensions=("writing",))
        made = answered(worker, comparisons)
        assert made.num_rows == comparisons.num_rows == sum(len(found.eligible) for found in retrieved.values())
        found = found_differences(made, "validated")
        differences = [{**row, **each._asdict()} for row, each in zip(made.to_pylist(), found, strict=True)]
    peers = peers_of(method, users, retrieved, items, selection, embedder)
    contexts = []
    for user in users:
        own = [
            {**{name: row[name] for name in ("rank", "item_id", "text", "outcome")}, "item_title": row["title"]}
            for row in differences
            if row["user_id"] == user["user_id"]
        ]
        context = context_of(user, retrieved[user["user_id"]].history, own, items)
        shown = with_items(peers.get(user["user_id"], []), items)
        contexts.append({**context, "profile": with_items(user["profile"], items), "peers": shown})
    worker = Predict(**models_of(METHODS["intsum"], scratch), method=METHODS[method], prompts=PromptPack.load())
    predictions = answered(worker, pa.Table.from_pylist(contexts, schema.CONTEXTS))
    assert predictions.schema == schema.PREDICTIONS
    assert predictions["user_id"].to_pylist() == [user["user_id"] for user in users]
    assert set(predictions["status"].to_pylist()) == {"ok"}
    for row, user in zip(predictions.to_pylist(), users, strict=True):
        assert row["prediction"]
        assert row["method"] in ({"nonperso"} if not user["profile"] else {method, "intsum"})
