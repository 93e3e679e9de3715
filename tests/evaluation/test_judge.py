"""A user's number is the mean of the answers that could be read; one that could not be read moves it nowhere."""

from statistics import fmean, stdev

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.config import Judge
from drp_ray.errors import JobFailed
from drp_ray.evaluation.judge import JudgeMeasure, judge_numbers, measures_of, sample_means, score_facts
from drp_ray.evaluation.user_scores import UserScores
from drp_ray.schema import JUDGEMENTS
from drp_ray.storage.parts import add_up

MEASURE = JudgeMeasure("judge", "Judge")
answers = st.lists(st.none() | st.integers(0, 10), min_size=3, max_size=3)
users = st.lists(answers, min_size=1, max_size=6)


def rows(of_users, text="prediction"):
    """The judgements of users u0, u1, … by what was read in each sample (None: it could not be)."""
    return pa.Table.from_pylist(
        [
            {
                "user_id": f"u{user}",
                "text": text,
                "sample": sample,
                "score": score,
                "expected": score,
                "status": "error" if score is None else "ok",
                "answer": "hm" if score is None else str(score),
            }
            for user, scores in enumerate(of_users)
            for sample, score in enumerate(scores)
        ],
        JUDGEMENTS,
    )


def values(table):
    return MEASURE.values(table)["judge"].to_pylist()


@given(of_users=users)
def test_a_users_value_is_the_mean_of_what_could_be_read(of_users):
    for value, scores in zip(values(rows(of_users)), of_users, strict=True):
        readable = [score for score in scores if score is not None]
        assert value == (pytest.approx(fmean(readable) / 10) if readable else None)


@given(of_users=users, more=st.integers(1, 5))
def test_an_answer_that_cannot_be_read_moves_no_mean(of_users, more):
    padded = [[*scores, *[None] * more] for scores in of_users]
    assert values(rows(padded)) == values(rows(of_users))


@given(of_users=users, randomly=st.randoms())
def test_the_order_of_rows_changes_nothing(of_users, randomly):
    table = rows(of_users)
    order = list(range(len(table)))
    randomly.shuffle(order)
    assert MEASURE.values(table.take(order)).equals(MEASURE.values(table))


@given(of_users=users)
def test_other_texts_of_a_user_are_not_the_predictions(of_users):
    both = pa.concat_tables([rows(of_users), rows([[10, 10, 10] for _ in of_users], "reference")])
    assert values(both) == values(rows(of_users))
    assert set(MEASURE.values(both, "reference")["judge"].to_pylist()) == {1.0}


@given(of_users=users, cut=st.integers(0, 6))
def test_means_over_samples_do_not_hang_on_parts(of_users, cut):
    table = rows(of_users)
    whole = score_facts(table)
    parts = add_up([score_facts(table.slice(0, 3 * cut)), score_facts(table.slice(3 * cut))])
    assert sample_means(whole, range(3)) == sample_means(parts, range(3))
    means = [
        fmean(readable) / 10
        for sample in range(3)
        if (readable := [scores[sample] for scores in of_users if scores[sample] is not None])
    ]
    assert sample_means(whole, range(3)) == pytest.approx(means)
    spread = judge_numbers(whole, Judge(samples=3))["sd_over_samples"]
    assert spread == (pytest.approx(stdev(means)) if len(means) > 1 else None)


def test_what_is_reported_besides_the_value_is_of_one_text():
    table = pa.concat_tables([rows([[4, None], [6, 8]]), rows([[None, None], [9, 9]], "reference")])
    numbers = judge_numbers(score_facts(table), Judge(samples=2))
    assert numbers == {"asked": 4, "unreadable": 1, "errors": 1, "sd_over_samples": pytest.approx(stdev([0.5, 0.8]))}
    assert judge_numbers(score_facts(table), Judge(), "reference")["unreadable"] == 2


def test_the_trust_in_the_format_is_the_mean_over_the_answers_that_have_one():
    table = rows([[4, 6], [5, None]])
    trust = pa.array([0.5, 1.0, None, 0.0], pa.float64())
    table = table.set_column(table.schema.get_field_index("format_trust"), "format_trust", trust)
    numbers = judge_numbers(score_facts(table), Judge(expected=True))
    assert (numbers["format_trust"], numbers["without_expected"]) == (0.5, 0)
    assert judge_numbers(score_facts(table.slice(2, 1)), Judge(expected=True))["format_trust"] is None


def test_a_judge_that_says_what_it_expects_has_a_second_measure_of_its_own_name():
    found = measures_of({"judge": Judge(expected=True), "gpt": Judge()})
    assert [measure.name for measure in found] == ["judge", "judge_expected", "judge_gpt"]
    assert [measure.columns[0].name for measure in found] == [measure.name for measure in found]


def test_the_number_of_a_run_is_the_mean_over_users_of_every_draw_alike():
    sums, n = np.array([1.0, 3.0, 0.0]), np.array([2.0, 4.0, 0.0])
    draws = MEASURE.aggregate_draws({"judge": sums}, n)
    assert [MEASURE.aggregate({"judge": total}, int(count)) for total, count in zip(sums, n, strict=True)][:2] == [
        0.5,
        0.75,
    ]
    assert draws[:2].tolist() == [0.5, 0.75] and np.isnan(draws[2])


def test_columns_of_a_judge_stand_beside_their_users_and_those_of_other_users_are_refused():
    predictions = pa.table({"user_id": ["b", "a"], "method": ["m"] * 2, "status": ["ok"] * 2, "reference": ["r"] * 2})
    scores = pa.table({"user_id": ["a", "b"], "rouge1": [0.1, 0.2]})
    judged = pa.table({"user_id": ["b", "a"], "judge": [0.8, None]})
    joined = UserScores.join(predictions, scores, judged)
    assert joined.table.select(["user_id", "rouge1", "judge"]).to_pylist() == [
        {"user_id": "a", "rouge1": 0.1, "judge": None},
        {"user_id": "b", "rouge1": 0.2, "judge": 0.8},
    ]
    assert joined.numbers([MEASURE])["judge"] == (0.8, 1)
    with pytest.raises(JobFailed, match="other users"):
        UserScores.join(predictions, scores, pa.table({"user_id": ["b", "c"], "judge": [0.8, None]}))
