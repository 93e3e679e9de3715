"""Real Amazon reviews through the builder: the counts that their README names, and on through the job."""

import gzip
import json
from collections import Counter

import pytest

from tests.data.raw import read_items, read_split
from tests.end_to_end.conftest import Job, sample, settings
from tests.real_reviews import RAW

__all__ = ["sample", "settings"]

pytestmark = pytest.mark.skipif(
    not RAW.is_dir(), reason="the raw reviews lie beside the developers' checkouts and are not part of the project"
)


def counted() -> dict[str, list[str]]:
    """Users and the items of their reviews in time order, thinned out with plain sets."""
    with gzip.open(RAW / "Digital_Music.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if len(row["text"]) >= 200]
    rows.sort(key=lambda row: (row["timestamp"], row["parent_asin"]))
    newest = {(row["user_id"], row["parent_asin"]): row for row in rows}
    texts = {(user, " ".join(row["text"].split())): (user, asin) for (user, asin), row in newest.items()}
    pairs = set(texts.values())
    before = None
    while pairs != before:
        before = pairs
        reviewers = Counter(asin for _, asin in pairs)
        activity = Counter(user for user, asin in pairs if reviewers[asin] >= 5)
        pairs = {(user, asin) for user, asin in pairs if reviewers[asin] >= 5 and activity[user] >= 5}
    ordered: dict[str, list[str]] = {}
    for user, asin in sorted(pairs, key=lambda pair: (newest[pair]["timestamp"], pair[1])):
        ordered.setdefault(user, []).append(asin)
    return ordered


def test_the_dataset_has_the_users_items_and_reviews_that_are_counted_independently(music):
    rows = read_split(music, "test")
    written = {row["user_id"]: [review["item_id"] for review in (*row["profile"], row["target"])] for row in rows}
    assert written == counted()
    reviews = sum(map(len, written.values()))
    assert (len(rows), len(read_items(music)), reviews) == (234, 181, 2125)
    assert {item["item_id"] for item in read_items(music)} == {asin for items in written.values() for asin in items}


def test_the_dataset_runs_through_the_job_to_the_comparisons(tmp_path, music, settings):
    job = Job(tmp_path, {**settings, "dataset": str(music / "test"), "root": str(tmp_path / "results")})
    done = job.run_here("run", "--until", "comparisons", "--set", "users.limit=3")
    assert done.returncode == 0, done.stderr
    job = Job(tmp_path, {**job.settings, "users": {"limit": 3}})
    assert job.stage("comparisons").uri.startswith(str(tmp_path / "results" / "music-test"))
    pairs = job.rows("comparisons").to_pylist()
    assert pairs and all(pair["representatives"] for pair in pairs)
