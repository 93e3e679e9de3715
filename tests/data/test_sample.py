import io
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.data.sample import sample_dataset, sample_items, sample_users

N_USERS = 120


@pytest.fixture(scope="module")
def users():
    return sample_users(N_USERS, 0, 0, N_USERS).to_pylist()


@pytest.fixture(scope="module")
def items():
    return sample_items(N_USERS, 0).to_pylist()


def parquet_bytes(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def all_reviews(users):
    return [review for user in users for review in [*user["profile"], user["target"]]]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others():
    first, again, other = (sample_dataset(30, seed) for seed in (1, 1, 2))
    for table, same, different in zip(first, again, other, strict=True):
        assert parquet_bytes(table) == parquet_bytes(same)
        assert parquet_bytes(table) != parquet_bytes(different)


def test_the_tables_have_the_schemas_of_every_dataset():
    users, items = sample_dataset(5, 0)
    assert users.schema == schema.USERS
    assert items.schema == schema.CATALOGUE


@settings(max_examples=20, deadline=None)
@given(n_users=st.integers(1, 60), seed=st.integers(0, 2**40), data=st.data())
def test_chunks_put_together_equal_the_whole(n_users, seed, data):
    cut = data.draw(st.integers(0, n_users))
    chunks = [sample_users(n_users, seed, 0, cut), sample_users(n_users, seed, cut, n_users)]
    assert pa.concat_tables(chunks).equals(sample_dataset(n_users, seed)[0])


@settings(max_examples=20, deadline=None)
@given(n_users=st.integers(1, 60), seed=st.integers(0, 2**40))
def test_profiles_are_ordered_distinct_and_end_before_the_target(n_users, seed):
    users, items = (table.to_pylist() for table in sample_dataset(n_users, seed))
    known = {item["item_id"] for item in items}
    assert len(known) == len(items)
    assert len({user["user_id"] for user in users}) == n_users
    for user in users:
        reviews = [*user["profile"], user["target"]]
        timestamps = [review["timestamp"] for review in reviews]
        assert all(earlier < later for earlier, later in pairwise(timestamps))
        reviewed = {review["item_id"] for review in reviews}
        assert len(reviewed) == len(reviews)
        assert reviewed <= known


def test_ids_sort_as_their_numbers_do(users, items):
    for ids in ([user["user_id"] for user in users], [item["item_id"] for item in items]):
        assert ids == sorted(ids)


@pytest.mark.parametrize("n_users", [20, 50, 400])
def test_most_items_in_profiles_have_at_least_six_reviewers(n_users):
    profiles = sample_users(n_users, 0, 0, n_users)["profile"].to_pylist()
    reviewers = Counter(review["item_id"] for profile in profiles for review in profile)
    assert np.mean([count >= 6 for count in reviewers.values()]) > 0.75


def test_texts_have_the_lengths_of_reviews_and_no_blanks_left_unfilled(users, items):
    for review in all_reviews(users):
        assert 120 <= len(review["text"]) <= 1_100
        assert review["title"]
        assert review["rating"] in {1.0, 2.0, 3.0, 4.0, 5.0}
    for text in [review["text"] + review["title"] for review in all_reviews(users)]:
        assert "{" not in text
        assert "  " not in text
    for item in items:
        assert 100 <= len(item["description"]) <= 400
        assert "{" not in item["title"] + item["description"]


def test_some_user_has_a_short_profile(users):
    lengths = [len(user["profile"]) for user in users]
    assert min(lengths) == 2
    assert np.median(lengths) >= 8


def test_users_disagree_about_an_item(users):
    ratings = {}
    for review in all_reviews(users):
        ratings.setdefault(review["item_id"], set()).add(review["rating"])
    assert np.mean([len(different) > 1 for different in ratings.values()]) > 0.9


def test_sentiment_of_the_text_follows_the_rating(users):
    praise = ("worth the money", "keeper", "I commend", "recommended at the current price")
    blame = ("buy it again", "Hard pass", "without sorrow", "not recommended")
    means = [
        np.mean([review["rating"] for review in all_reviews(users) if any(word in review["text"] for word in words)])
        for words in (praise, blame)
    ]
    assert means[0] > means[1] + 1


def manner(reviews):
    """Frequencies of punctuation and capitals, word and review lengths: nothing that names a subject."""
    text = " ".join(review["text"] for review in reviews)
    marks = [text.count(mark) / len(text) for mark in "!.,:;()-—'"]
    capitals = sum(letter.isupper() for letter in text) / len(text)
    return [
        *marks,
        text.count("...") / len(text),
        capitals,
        len(text) / len(reviews) / 1_000,
        len(text) / len(text.split()),
    ]


def test_a_user_is_recognised_by_punctuation_and_lengths_alone(users):
    regulars = [user["profile"] for user in users if len(user["profile"]) >= 8]
    known, unknown = (np.array([manner(profile[half::2]) for profile in regulars]) for half in (0, 1))
    scale = known.std(axis=0)
    distances = np.linalg.norm((unknown[:, None] - known[None]) / scale, axis=2)
    hits = (distances.argmin(axis=1) == np.arange(len(regulars))).mean()
    assert hits > 0.5  # by chance: less than 0.01


def test_a_dataset_of_one_user_is_a_dataset():
    users, items = sample_dataset(1, 0)
    assert users.num_rows == 1
    assert items.num_rows > len(users["profile"][0])


@pytest.mark.parametrize(("n_users", "start", "stop"), [(0, 0, 0), (5, 0, 6), (5, 3, 2), (5, -1, 2)])
def test_users_outside_the_dataset_are_refused(n_users, start, stop):
    with pytest.raises(ValueError, match="user"):
        sample_users(n_users, 0, start, stop)


def test_a_dataset_without_users_is_refused():
    with pytest.raises(ValueError, match="at least one user"):
        sample_dataset(0, 0)
