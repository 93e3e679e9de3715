"""Controls beside predictions: both over the same users, and who failed or was not judged is in neither."""

from statistics import fmean

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.authorship import ATTRIBUTIONS
from drp_ray.evaluation.controls import CEILING, FLOOR, SWAPPED, report_controls, score_controls
from drp_ray.evaluation.judge import JudgeMeasure
from drp_ray.evaluation.user_scores import UserScores
from tests.evaluation.test_user_scores import METRICS

JUDGE = JudgeMeasure("judge", "Judge")
VALUE = st.none() | st.integers(0, 10).map(lambda score: score / 10)
USERS = st.lists(st.tuples(st.booleans(), VALUE, VALUE), min_size=1, max_size=9)
"""Whether the prediction failed, and the judge's values of the prediction and of the floor."""


def scores_of(drawn):
    columns = {
        "user_id": [f"u{n}" for n in range(len(drawn))],
        "method": ["rag"] * len(drawn),
        "status": ["error" if failed else "ok" for failed, _, _ in drawn],
        "reference": ["a text"] * len(drawn),
        "judge": pa.array([None if failed else value for failed, value, _ in drawn], pa.float64()),
    }
    floor = pa.array([control for _, _, control in drawn], pa.float64())
    return UserScores(pa.table(columns)), pa.table({"user_id": columns["user_id"], f"{FLOOR}:judge": floor})


@given(drawn=USERS)
def test_a_control_and_the_predictions_beside_it_are_over_the_ok_users_who_have_both(drawn):
    found = report_controls([JUDGE], *scores_of(drawn))[FLOOR]
    both = [(value, control) for failed, value, control in drawn if not failed and None not in (value, control)]
    assert found["n"]["judge"] == len(both)
    assert found["metrics"]["judge"] == (pytest.approx(fmean(control for _, control in both)) if both else None)
    assert found["prediction"]["judge"] == (pytest.approx(fmean(value for value, _ in both)) if both else None)


@given(drawn=USERS, value=VALUE)
def test_a_failed_prediction_takes_its_users_control_out_whatever_that_is(drawn, value):
    assert report_controls([JUDGE], *scores_of([*drawn, (True, None, value)])) == report_controls(
        [JUDGE], *scores_of(drawn)
    )


def test_a_measure_that_did_not_see_a_control_is_left_out_of_it():
    found = report_controls([JUDGE], *scores_of([(False, 0.5, 0.3)]))
    assert found[SWAPPED] == found[CEILING] == {"n": {}, "metrics": {}, "prediction": {}}


WORDS = st.lists(st.sampled_from(["the", "car", "runs", "well.", "é"]), max_size=6).map(" ".join)
PERSON = st.tuples(WORDS, st.lists(WORDS, min_size=2, max_size=3), st.none() | WORDS, st.booleans())


@given(people=st.lists(PERSON, min_size=1, max_size=4))
def test_the_scores_of_a_users_controls_hang_on_no_other_user_of_the_part(people):
    ids = [f"u{n}" for n in range(len(people))]
    users = [
        {"user_id": user, "target": {"text": text}, "profile": [{"text": each} for each in profile]}
        for user, (text, profile, _, _) in zip(ids, people, strict=True)
    ]
    authors = [
        [{"user_id": user, "reviews": profile}, *({"user_id": f"other{n}", "reviews": ["a", "b"]} for n in range(4))]
        if is_known
        else None
        for user, (_, profile, _, is_known) in zip(ids, people, strict=True)
    ]
    texts = [control for _, _, control, _ in people]
    whole = score_controls(METRICS, users, {FLOOR: texts}, [FLOOR], authors)
    alone = [
        score_controls(METRICS, [user], {FLOOR: [text]}, [FLOOR], [five])[0]
        for user, text, five in zip(users, texts, authors, strict=True)
    ]
    assert whole == alone
    assert set(whole[0]) >= {f"{FLOOR}:{each.name}" for each in (*METRICS, *ATTRIBUTIONS)}
