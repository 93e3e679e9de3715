"""Turn a small file of raw Amazon reviews into a dataset, for measurements and tests on real text."""

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray import schema

MIN_REVIEW_CHARS = 200
MIN_ITEM_REVIEWERS = 5
MIN_USER_REVIEWS = 5

Review = dict[str, Any]


def read_reviews(path: Path) -> dict[str, list[Review]]:
    """Read, filter and thin out the reviews of a raw file: every user's, in time order.

    A review has at least 200 characters as it was written, before white space is collapsed. Of a user's reviews of
    one item, and of equal texts of a user, the newest counts. Items with fewer than 5 reviewers and users with
    fewer than 5 reviews leave in turn.
    """
    newest: dict[tuple[str, str], Review] = {}
    for user_id, review in sorted(_raw_reviews(path), key=lambda pair: (pair[1]["timestamp"], pair[1]["item_id"])):
        newest[user_id, review["item_id"]] = review
    by_text = {(user_id, review["text"]): ((user_id, item), review) for (user_id, item), review in newest.items()}
    kept = dict(by_text.values())
    while True:
        reviewers = Counter(item for _, item in kept)
        activity = Counter(user for user, _ in kept)
        stays = {
            (user, item)
            for user, item in kept
            if reviewers[item] >= MIN_ITEM_REVIEWERS and activity[user] >= MIN_USER_REVIEWS
        }
        if len(stays) == len(kept):
            return _by_user(kept)
        kept = {pair: review for pair, review in kept.items() if pair in stays}


def write_dataset(raw: Path, folder: Path) -> None:
    """Write a dataset whose users are to review the item of their last review."""
    reviews = read_reviews(raw / "Digital_Music.jsonl.gz")
    users = [
        {"user_id": user, "profile": written[:-1], "target": written[-1]} for user, written in sorted(reviews.items())
    ]
    known = {review["item_id"] for written in reviews.values() for review in written}
    items = [item for item in _raw_items(raw / "meta_Digital_Music.jsonl.gz") if item["item_id"] in known]
    for name, rows, columns in (("users", users, schema.USERS), ("items", items, schema.CATALOGUE)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, columns), folder / name / "part-00000.parquet")


def _raw_reviews(path: Path) -> Iterable[tuple[str, Review]]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            raw = json.loads(line)
            if len(raw["text"]) >= MIN_REVIEW_CHARS:
                words = {name: " ".join(raw[name].split()) for name in ("title", "text")}
                numbers = {name: raw[name] for name in ("rating", "timestamp")}
                yield raw["user_id"], {"item_id": raw["parent_asin"], **words, **numbers}


def _raw_items(path: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            raw = json.loads(line)
            description = " ".join(raw["description"]) or None
            yield {"item_id": raw["parent_asin"], "title": raw["title"], "description": description}


def _by_user(kept: dict[tuple[str, str], Review]) -> dict[str, list[Review]]:
    users: dict[str, list[Review]] = {}
    for (user, _), review in sorted(kept.items(), key=lambda pair: (pair[1]["timestamp"], pair[0][1])):
        users.setdefault(user, []).append(review)
    return users
