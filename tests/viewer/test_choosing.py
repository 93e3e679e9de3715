"""Which users a report has the texts of."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.viewer.choosing import EXTREMES, choose
from drp_ray.viewer.user_table import UserTable


def table(scores: dict[str, float | None], elsewhere: Collection[str] = ()) -> UserTable:
    """Of the scores of users, those of `elsewhere` with a target of their own."""
    targets = [b"other" if user in elsewhere else b"target" for user in scores]
    rows = pa.table({"user_id": list(scores), "rouge1": pa.array(scores.values(), pa.float64()), "target": targets})
    return UserTable(rows.sort_by("user_id"), ("rouge1",))


value = st.one_of(st.none(), st.floats(0, 1))
scored = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), value, min_size=1, max_size=60)


def named(values: list[float | None]) -> dict[str, float | None]:
    return {f"user-{number:03d}": value for number, value in enumerate(values)}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(value, value), min_size=5, max_size=60), st.integers(1, 40), st.integers(0, 3))
def test_a_sample_has_the_largest_gains_and_losses_and_its_size(pairs, size, seed):
    first, second = (named(list(values)) for values in zip(*pairs, strict=True))
    chosen = choose([table(first), table(second)], size, seed)
    assert list(chosen.user_ids) == sorted(set(chosen.user_ids)) and set(chosen.user_ids) <= set(first)
    assert len(chosen.user_ids) >= min(size, len(first)) and chosen.of == len(first)
    gains = sorted(first[user] - second[user] for user in first if None not in (first[user], second[user]))
    there = sorted(first[user] - second[user] for user in chosen.user_ids if None not in (first[user], second[user]))
    each = min(EXTREMES, max(1, size // 2), len(gains))
    assert there[:each] == gains[:each] and there[len(there) - each :] == gains[len(gains) - each :]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(value, value, st.booleans()), min_size=5, max_size=60), st.integers(1, 40))
def test_nobody_gains_over_a_run_that_was_to_write_another_text(rows, size):
    first, second = (named([row[place] for row in rows]) for place in (0, 1))
    elsewhere = {user for user, row in zip(first, rows, strict=True) if row[2]}
    whole = choose([table(first), table(second, elsewhere)], size, 0)
    there = {user: value for user, value in second.items() if user not in elsewhere}
    alone = choose([table(first), table(there)], size, 0) if there else choose([table(first)], size, 0)
    assert whole == alone


@settings(max_examples=40, deadline=None)
@given(scored, st.integers(1, 30), st.integers(0, 3), st.randoms())
def test_neither_order_nor_who_else_is_there_changes_who_is_drawn(scores, size, seed, chance):
    shuffled = list(scores.items())
    chance.shuffle(shuffled)
    assert choose([table(scores)], size, seed) == choose([table(dict(shuffled))], size, seed)


def test_another_seed_draws_others_and_says_so():
    scores = {f"user-{number:04d}": float(value) for number, value in enumerate(np.linspace(0, 1, 500))}
    first, second = (choose([table(scores)], 100, seed) for seed in (0, 1))
    assert first.user_ids != second.user_ids and len(first.user_ids) == len(second.user_ids) == 100
    assert "100 of 500 users" in first.how and "seed 0" in first.how and "20 users" in first.how


def test_all_users_are_there_where_they_fit():
    assert choose([table({"b": 1.0, "a": None})], 2, 0).how == "All 2 users are here."
