"""How numbers of a comparison are written."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drp_ray.job.compare_tables import written_p

THRESHOLDS = (0.05, 0.01, 0.001)
P_VALUES = st.one_of(
    st.floats(0, 1),
    st.floats(0, 1e-200),
    st.tuples(st.sampled_from(THRESHOLDS), st.floats(-1e-3, 1e-3)).map(lambda near: near[0] * (1 + near[1])),
)


@given(P_VALUES)
@example(0.049995)
@example(0.0)
def test_a_written_p_is_near_p_never_zero_and_on_the_same_side_of_every_threshold(p):
    if p == 0:
        assert written_p(p) == "< 1e-300"
        return
    written = float(written_p(p))
    assert written > 0 or p < 1e-300
    assert [written < threshold for threshold in THRESHOLDS] == [p < threshold for threshold in THRESHOLDS]
    assert written == pytest.approx(p, rel=0.5, abs=5e-5 if p >= 0.0001 else 0)


@pytest.mark.parametrize(
    ("p", "written"), [(0.2, "0.2000"), (0.05, "0.0500"), (0.04999999, "0.04999999"), (2e-7, "2e-07")]
)
def test_a_p_has_more_digits_only_where_rounding_would_change_a_verdict(p, written):
    assert written_p(p) == written
