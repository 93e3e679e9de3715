"""Which results may be set against each other user by user."""

from hypothesis import given
from hypothesis import strategies as st

from drp_ray.job.compared_runs import target_digest, why_not_paired

TARGETS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([b"1", b"2"]))


@given(TARGETS, TARGETS)
def test_results_are_paired_where_no_user_of_both_has_two_targets(one, other):
    differing = sorted(user for user in one if user in other and one[user] != other[user])
    why = why_not_paired("one", "other", one, other)
    assert (why is None) == (not differing)
    if differing:
        shared = len(one.keys() & other.keys())
        assert f"other texts for {len(differing)} of {shared} users, {differing[0]!r} for one" in why
    assert (why is None) == (why_not_paired("other", "one", other, one) is None)


@given(st.tuples(st.text("ab", max_size=3), st.text("ab", max_size=3)), st.tuples(st.text("ab"), st.text("ab")))
def test_digests_are_equal_where_item_and_text_are(one, other):
    assert (target_digest(*one) == target_digest(*other)) == (one == other)
