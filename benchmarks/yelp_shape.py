"""A dataset of the shape of full Yelp, invented, and stand-ins for the models that are asked about it.

    python -m benchmarks.yelp_shape FOLDER [--scale 0.1]

At scale 1 there are 28,743 users with some 1.27 million reviews of 60,000 businesses, one of which 8,000 of the users
reviewed. Another scale has so many times the users, businesses and reviewers of that one, and profiles as long. Equal
arguments give equal files. Jobs reach the stand-ins by import path, as they would an engine or embedder of anybody's.
"""

import argparse
import asyncio
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray import schema
from drp_ray.config import Embedding
from drp_ray.engines.base import Completion, Message, ModelSpec, Sampling

USERS, REVIEWS, BUSINESSES, REVIEWERS_OF_THE_HOTTEST = 28_743, 1_270_000, 60_000, 8_000
USERS_PER_FILE = 1_000
SENTENCES_A_TEXT = (2, 15)
DIMENSIONS = 384
"""As many as all-MiniLM-L6-v2 has."""

TOPICS = 12
YEAR_2015, TEN_YEARS = 1_420_000_000_000, 315_000_000_000


def main() -> None:
    """Write a dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=0.1)
    arguments = parser.parse_args()
    write_yelp_shape(arguments.folder, arguments.scale)


def write_yelp_shape(folder: Path, scale: float) -> None:
    """Write `users/` and `items/` into a folder."""
    n_users, n_items = round(USERS * scale), round(BUSINESSES * scale)
    for kind in ("users", "items"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for start in range(0, n_users, USERS_PER_FILE):
        users = users_from(start, min(start + USERS_PER_FILE, n_users), n_items)
        pq.write_table(users, folder / "users" / f"part-{start // USERS_PER_FILE:05d}.parquet", compression="zstd")
    pq.write_table(businesses(n_items), folder / "items" / "part-00000.parquet", compression="zstd")


def businesses(n_items: int) -> pa.Table:
    """The catalogue: names of three words, and no descriptions."""
    texts, ids = sentences(), [item_name(number) for number in range(n_items)]
    titles = [" ".join(texts[number % len(texts)].split()[:3]).title() for number in range(n_items)]
    return pa.table([ids, titles, pa.nulls(n_items, pa.string())], schema=schema.CATALOGUE)


def users_from(start: int, end: int, n_items: int) -> pa.Table:
    """Users with their profiles and targets. Each is drawn from a seed of its own."""
    return pa.Table.from_pylist([_user(number, n_items) for number in range(start, end)], schema.USERS)


def _user(number: int, n_items: int) -> dict[str, Any]:
    chance = np.random.default_rng([number, n_items])
    reviews = 2 + round(chance.lognormal(mean=np.log(REVIEWS / USERS) - 0.32, sigma=0.8))
    drawn = 1 + np.searchsorted(_popularity(n_items), chance.random(reviews))
    items = list(dict.fromkeys(drawn.tolist()))
    if chance.random() < REVIEWERS_OF_THE_HOTTEST / USERS:
        items.insert(len(items) // 2, 0)
    times = np.sort(chance.integers(YEAR_2015, YEAR_2015 + TEN_YEARS, len(items))).tolist()
    written = [_review(chance, item, time) for item, time in zip(items, times, strict=True)]
    return {"user_id": f"user-{number:06d}", "profile": written[:-1], "target": written[-1]}


@cache
def _popularity(n_items: int) -> np.ndarray:
    """The summed shares of reviews of all businesses but the hottest: float64[n_items - 1]."""
    shares = (np.arange(n_items - 1) + 20.0) ** -0.8
    summed = np.cumsum(shares / shares.sum())
    summed[-1] = 1.0
    return summed


def _review(chance: np.random.Generator, item: int, time: int) -> dict[str, Any]:
    texts = sentences()
    chosen = chance.integers(0, len(texts), chance.integers(*SENTENCES_A_TEXT)).tolist()
    return {
        "item_id": item_name(item),
        "rating": float(chance.integers(1, 6)),
        "title": None,  # Yelp has none
        "text": " ".join(texts[place] for place in chosen),
        "timestamp": time,
    }


def item_name(number: int) -> str:
    """A name whose order says nothing of how popular an item is, as with Yelp's."""
    return hashlib.sha256(f"item {number}".encode()).hexdigest()[:22]


@cache
def sentences() -> list[str]:
    """Twenty thousand sentences of some 12 words, which are as unevenly common as words are."""
    chance = np.random.default_rng(0)
    words = np.array(
        ["".join(chance.choice(list("aeioulnrstdmcpb"), length)) for length in chance.integers(2, 10, 8_000)]
    )
    shares = 1 / (np.arange(len(words)) + 2.7)
    drawn = iter(words[chance.choice(len(words), 20_000 * 12, p=shares / shares.sum())].tolist())
    return [" ".join(next(drawn) for _ in range(12)).capitalize() + "." for _ in range(20_000)]


class StubEngine:
    """Answers every chat with a text of its prompt's own, after so many seconds as the model's id says."""

    context_length = None
    honours_seed = True

    def __init__(self, spec: ModelSpec) -> None:
        self._delay_s = float(spec.id)
        self.concurrency = spec.concurrency or 256

    async def start(self) -> None:
        """There is nothing to load."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Some 100 words, which are a function of the prompt."""
        await asyncio.sleep(self._delay_s)
        prompt = "\n".join(message["content"] for message in messages)
        digest, texts = hashlib.sha256(prompt.encode()).digest(), sentences()
        places = np.frombuffer(digest[:16], np.uint16) % len(texts)
        return Completion(" ".join(texts[place] for place in places), "stop", len(prompt) // 4, 0, 120)

    async def close(self) -> None:
        """There is nothing to free."""


class HashingEmbedder:
    """Vectors that follow from the text's digest: one of a few topics, and noise as long as the topic."""

    def __init__(self, settings: Embedding) -> None:
        chance = np.random.default_rng(0)
        self._topics = chance.normal(size=(TOPICS, DIMENSIONS)).astype(np.float32)
        self._noise = chance.normal(size=(256, DIMENSIONS)).astype(np.float32)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed `n` texts: float32[n, 384] of length 1."""
        digests = b"".join(hashlib.sha256(text.encode()).digest()[:4] for text in texts)
        bytes_of = np.frombuffer(digests, np.uint8).reshape(-1, 4)
        noise = sum(self._noise[bytes_of[:, place]] * share for place, share in ((1, 0.8), (2, 0.5), (3, 0.3)))
        vectors = self._topics[bytes_of[:, 0] % TOPICS] + noise
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()
