"""Generated raw files in the format of Amazon Reviews 2023: long-tailed users, items and lengths, reproducible."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

USERS_PER_REVIEW = 0.2
ITEMS_PER_REVIEW = 0.1
USER_STEEPNESS, ITEM_STEEPNESS = 4.0, 5.0
"""At the published thresholds, a few per cent of the reviews stay: enough to keep every step at work."""
BATCH = 100_000
POOL_CHARS = 8_000_000
MEDIAN_CHARS, SPREAD, LONGEST = 250, 1.1, 20_000
FIRST_MS, LAST_MS = 1_000_000_000_000, 1_690_000_000_000


def write_raw(folder: Path, reviews: int, seed: int = 0) -> tuple[Path, Path]:
    """Write `reviews` reviews of a tenth as many items by a fifth as many users; the two gzipped files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pool = _pool(rng)
    items = max(int(reviews * ITEMS_PER_REVIEW), 1)
    review_file, meta_file = folder / "reviews.jsonl.gz", folder / "meta.jsonl.gz"
    _write(review_file, _reviews(rng, pool, reviews, items))
    _write(meta_file, _items(rng, pool, items))
    return review_file, meta_file


def _write(path: Path, lines: Iterator[str]) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for text in lines:
            file.write(text.encode())


def _pool(rng: np.random.Generator) -> str:
    """Words to cut texts from: 30,000 of them, some much more frequent than others."""
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    lengths = rng.integers(2, 11, 30_000)
    words = np.array(["".join(rng.choice(letters, length)) for length in lengths])
    ranks = long_tailed(rng, len(words), POOL_CHARS // 7, 3.0)
    return " ".join(words[ranks])


def long_tailed(rng: np.random.Generator, count: int, size: int, steepness: float) -> np.ndarray:
    """Draw from `count` things; the first are drawn most."""
    return (count * rng.random(size) ** steepness).astype(np.int64)


def _lengths(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.clip(rng.lognormal(np.log(MEDIAN_CHARS), SPREAD, size), 1, LONGEST).astype(np.int64)


def _reviews(rng: np.random.Generator, pool: str, reviews: int, items: int) -> Iterator[str]:
    users = max(int(reviews * USERS_PER_REVIEW), 1)
    for begin in range(0, reviews, BATCH):
        size = min(BATCH, reviews - begin)
        columns = zip(
            long_tailed(rng, users, size, USER_STEEPNESS).tolist(),
            long_tailed(rng, items, size, ITEM_STEEPNESS).tolist(),
            rng.integers(1, 6, size).tolist(),
            rng.integers(FIRST_MS, LAST_MS, size).tolist(),
            rng.integers(0, len(pool) - LONGEST, size).tolist(),
            _lengths(rng, size).tolist(),
            strict=True,
        )
        yield "".join(
            f'{{"rating": {rating}.0, "title": "{pool[start : start + 30].strip() or "t"}", "text": '
            f'"{pool[start : start + length]}", "images": [], "asin": "B{item:09d}", "parent_asin": "B{item:09d}", '
            f'"user_id": "A{user:027d}", "timestamp": {time}, "helpful_vote": 0, "verified_purchase": true}}\n'
            for user, item, rating, time, start, length in columns
        )


def _items(rng: np.random.Generator, pool: str, items: int) -> Iterator[str]:
    for begin in range(0, items, BATCH):
        size = min(BATCH, items - begin)
        starts = rng.integers(0, len(pool) - LONGEST, size).tolist()
        lengths = (_lengths(rng, size) * 2).tolist()
        yield "".join(
            f'{{"main_category": "Books", "title": "{pool[start : start + 40].strip() or "t"}", "description": '
            f'["{pool[start : start + length]}"], "parent_asin": "B{begin + number:09d}"}}\n'
            for number, (start, length) in enumerate(zip(starts, lengths, strict=True))
        )
