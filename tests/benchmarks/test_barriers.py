"""The simulation of barriers counts steps as an engine would."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.barriers import steps_in_a_stream, steps_with_barriers

ROWS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=40)


def test_a_rank_ends_with_its_longest_reply():
    rows = [(1, 1), (9, 1), (1, 1), (9, 1)]
    assert steps_with_barriers(rows, users=2, seats=2) == 9 + 9 + 1 + 1
    assert steps_in_a_stream(rows, seats=4) == 10


@given(ROWS, st.integers(1, 8), st.integers(1, 10))
def test_no_order_is_quicker_than_full_seats_and_one_seat_takes_the_sum(rows, seats, users):
    work = sum(map(sum, rows))
    for steps in (steps_in_a_stream(rows, seats), steps_with_barriers(rows, users, seats)):
        assert steps * seats >= work
    assert steps_in_a_stream(rows, 1) == steps_with_barriers(rows, users, 1) == work
