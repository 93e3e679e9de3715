"""A profile that holds the target or later reviews is found, counted and cleaned, and nothing else is touched."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.inputs.leaks import LeakCounts, count_leaks, without_leaks


def review(item, text, timestamp):
    return {"item_id": item, "rating": 3.0, "title": None, "text": text, "timestamp": timestamp}


REVIEWS = st.builds(review, st.sampled_from("ab"), st.sampled_from(["t", "u"]), st.integers(0, 4))
USERS = st.lists(st.tuples(st.lists(REVIEWS, max_size=5), REVIEWS), min_size=1, max_size=5)


def table(users):
    rows = [{"user_id": f"u{n}", "profile": profile, "target": target} for n, (profile, target) in enumerate(users)]
    return pa.Table.from_pylist(rows, schema.USERS)


def is_target(past, target):
    return (past["item_id"], past["text"]) == (target["item_id"], target["text"])


def leaks(past, target):
    return is_target(past, target) or past["timestamp"] > target["timestamp"]


@given(users=USERS)
def test_what_leaks_is_left_out_and_everything_else_stays_in_its_order(users):
    rows = table(users)
    cleaned = without_leaks(rows)
    assert cleaned.schema == rows.schema
    assert cleaned.drop_columns("profile") == rows.drop_columns("profile")
    expected = [[past for past in profile if not leaks(past, target)] for profile, target in users]
    assert cleaned["profile"].to_pylist() == expected
    assert not count_leaks(cleaned)


@given(users=USERS, cut=st.integers(0, 5))
def test_users_are_counted_once_by_kind_and_the_first_is_named(users, cut):
    holding = [n for n, (profile, target) in enumerate(users) if any(is_target(past, target) for past in profile)]
    later = [
        n
        for n, (profile, target) in enumerate(users)
        if any(leaks(past, target) and not is_target(past, target) for past in profile)
    ]
    rows = table(users)
    found = count_leaks(rows)
    assert (found.target_users, found.later_users) == (len(holding), len(later))
    assert found.first_target == (f"u{holding[0]}" if holding else None)
    assert found.first_later == (f"u{later[0]}" if later else None)
    assert bool(found) == bool(holding or later)
    assert count_leaks(rows.slice(0, cut)) + count_leaks(rows.slice(cut)) == found


def test_what_was_found_is_one_plain_line():
    assert str(LeakCounts()) == "no leaks"
    assert str(LeakCounts(2, 0, "ann")) == "the target review in the user's own profile: 2 (first: ann)"
