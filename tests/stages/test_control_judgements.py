"""The stage `control_judgements`: real texts are judged as predictions of the same words are, once for all runs."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.evaluation.controls import OF_DATA
from drp_ray.stages.control_judgements import JudgeControls
from drp_ray.stages.judgements import judge_of
from drp_ray.stages.judging import judge_arguments
from drp_ray.stages.stage import StageContext
from drp_ray.storage.parts import commit_part
from tests.stages import test_judgements
from tests.stages.test_judgements import CALLS, PART, SCRIPT, TARGET, by_prompt_and_seed, plan_of
from tests.stages.working import work_in_pieces

KEY = [("user_id", "ascending"), ("text", "ascending"), ("sample", "ascending")]


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()
    SCRIPT["answer"] = lambda messages, sampling: "7"


class Shared:
    """A catalogue as Ray's reference gives it: something to wait for."""

    def __init__(self, items):
        self.items = pa.Table.from_pylist(items, schema.CATALOGUE.append(pa.field("reviewers", pa.int64())))

    def __await__(self):
        return self._found().__await__()

    async def _found(self):
        return self.items


def person(number, other="Not mine.", own="On something else.", text="Cosy and slow."):
    """A user with a review of the target, and the controls of it that there are."""
    return {"user_id": f"u{number}", "item_id": f"item of u{number}", "text": text, "other": other, "own": own}


def controls_of(people):
    rows = [{"user_id": one["user_id"], "other_review": one["other"], "own_review": one["own"]} for one in people]
    return pa.Table.from_pylist(rows, schema.CONTROLS)


def judged(root, people, judge=None, earlier=None, parts=1, **changes):
    """The judgements of the controls of some people, and their facts; with `parts`, that many at once."""
    plan = plan_of(root, judge or {}, evaluation={"judge": judge or {}, "controls": True}, **changes)
    folders = {stage: info.folder for stage, info in plan.stages.items()}
    review = {"rating": TARGET["rating"], "title": TARGET["title"], "timestamp": TARGET["timestamp"]}
    targets = [{**review, "item_id": one["item_id"], "text": one["text"]} for one in people]
    users = [{"user_id": one["user_id"], "target": target} for one, target in zip(people, targets, strict=True)]
    commit_part(folders["users"], PART, pa.Table.from_pylist(users[::-1], schema.USERS), {}, "")
    items = [
        {"item_id": one["item_id"], "title": f"Title of {one['item_id']}", "description": "Blue.", "reviewers": 3}
        for one in sorted(people, key=lambda one: one["item_id"])
    ]
    context = StageContext(plan.spec, None, folders, root, {})
    arguments = judge_arguments("judge", context, "control_judgements")
    worker = JudgeControls(**arguments, users=folders["users"], catalogue=Shared(items))
    rows = controls_of(people)
    return work_in_pieces(worker, PART, rows, parts, earlier)


def test_the_real_review_and_both_other_reviews_are_judged_beside_the_real_one(tmp_path):
    made, facts = judged(tmp_path, [person(0), person(1)], {"samples": 2})
    assert set(OF_DATA) == {"reference", "own_review", "other_review"}
    assert {(row["user_id"], row["text"], row["sample"]) for row in made.to_pylist()} == {
        (user, text, sample) for user in ("u0", "u1") for text in OF_DATA for sample in range(2)
    }
    shown = [messages[-1]["content"] for messages, _ in CALLS if "u1" in messages[-1]["content"]]
    assert len(shown) == 6 and all("The user's real review:\n\nCosy and slow." in text for text in shown)
    assert all("Item: Title of item of u1\n" in text and "Blue." in text for text in shown)
    assert sum("The review to judge:\n\nNot mine." in text for text in shown) == 2
    assert sum("The review to judge:\n\nOn something else." in text for text in shown) == 2
    assert sum("The review to judge:\n\nCosy and slow." in text for text in shown) == 2
    assert {name: facts[f"asked:{name}"] for name in OF_DATA} == dict.fromkeys(OF_DATA, 4)
    seeds = [seed for row in made["seeds"].to_pylist() for seed in row]
    assert len(set(seeds)) == len(seeds) == 12


def test_a_control_is_judged_as_a_prediction_of_the_same_words_would_be(tmp_path, monkeypatch):
    judged(tmp_path, [person(0, other="Warm.", own=None)], {"samples": 1})
    asked = {tuple(message["content"] for message in messages) for messages, _ in CALLS}
    CALLS.clear()
    target = {**TARGET, "item_id": "item of u0", "item_title": "Title of item of u0", "item_description": "Blue."}
    monkeypatch.setattr(test_judgements, "target_of", lambda user: target)
    for prediction in ("Warm.", "Cosy and slow."):
        test_judgements.judged(tmp_path / "predictions", test_judgements.users(prediction), {"samples": 1})
    assert {tuple(message["content"] for message in messages) for messages, _ in CALLS} == asked


def test_a_user_who_lacks_a_control_is_not_asked_about_it_and_it_is_missing_never_zero(tmp_path):
    made, facts = judged(tmp_path, [person(0, other=None), person(1, own=None), person(2)], {"samples": 1})
    scores = {(row["user_id"], row["text"]): row["score"] for row in made.to_pylist()}
    missing = {("u0", "other_review"), ("u1", "own_review")}
    assert {key for key, score in scores.items() if score is None} == missing
    assert set(made["status"].to_pylist()) == {"ok"} and len(CALLS) == 7
    assert (facts["asked:other_review"], facts["asked:reference"], facts["errors"]) == (2, 3, 0)


def test_an_unreadable_answer_is_missing_counted_and_asked_again_alone(tmp_path):
    SCRIPT["answer"] = lambda messages, sampling: "hm" if "judge:\n\nNot" in messages[-1]["content"] else "5"
    first, facts = judged(tmp_path, [person(0)], {"samples": 1}, runtime={"max_attempts": 1})
    assert (facts["unreadable"], facts["unreadable:other_review"], facts["errors"]) == (1, 1, 1)
    CALLS.clear()
    SCRIPT["answer"] = lambda messages, sampling: "3"
    again, facts = judged(tmp_path, [person(0)], {"samples": 1}, earlier=first, runtime={"max_attempts": 1})
    assert len(CALLS) == 1 and facts["unreadable"] == 0
    assert dict(zip(again["text"].to_pylist(), again["score"].to_pylist(), strict=True)) == {
        "reference": 5,
        "own_review": 5,
        "other_review": 3,
    }


texts = st.none() | st.sampled_from(["Cold.", "Warm.", "{{ 7 }}", ""])


@given(drawn=st.lists(st.tuples(texts, texts), min_size=1, max_size=4), parts=st.integers(1, 3), order=st.randoms())
@settings(max_examples=15)
def test_order_and_batching_change_no_row(tmp_path_factory, drawn, parts, order):
    SCRIPT["answer"] = by_prompt_and_seed
    people = [person(number, *both) for number, both in enumerate(drawn)]
    root = tmp_path_factory.mktemp("laws")
    whole, facts = judged(root, people)
    shuffled = people.copy()
    order.shuffle(shuffled)
    other, same_facts = judged(root, shuffled, parts=min(parts, len(people)))
    assert other.sort_by(KEY).equals(whole.sort_by(KEY)) and same_facts == facts


def stage_of(root, name="control_judgements", judge=None, **changes):
    models = {name: {"engine": f"{test_judgements.__name__}:FakeJudge", "id": name} for name in ("llm", "other", "j")}
    settings = {"models": models, "roles": {"generator": "llm", "summarizer": "llm", "judge": "j"}, **changes}
    evaluation = {"judge": judge or {"judge": {}, "gpt": {}}, "controls": True}
    return plan_of(root, {}, evaluation=evaluation, **settings).stages[name].fingerprint


def test_runs_share_the_judged_controls_whatever_they_predict_with(tmp_path):
    roles = {"generator": "other", "summarizer": "other", "judge": "j"}
    assert {
        stage_of(tmp_path),
        stage_of(tmp_path, method="intsum"),
        stage_of(tmp_path, sampling={"generator": {"temperature": 0.1}}),
        stage_of(tmp_path, roles=roles),
        stage_of(tmp_path, retrieval={"n": 3}),
        stage_of(tmp_path, judge={"judge": {}}),
    } == {stage_of(tmp_path)}


def test_judges_that_can_differ_in_an_answer_never_share(tmp_path):
    found = [
        stage_of(tmp_path),
        stage_of(tmp_path, "control_judgements-gpt"),
        stage_of(tmp_path, judge={"judge": {"samples": 3}}),
        stage_of(tmp_path, judge={"judge": {"scale": "letters"}}),
        stage_of(tmp_path, judge={"judge": {"expected": True}}),
        stage_of(tmp_path, judge={"judge": {"model": "other"}}),
        stage_of(tmp_path, sampling={"judge": {"temperature": 0.1}}),
        stage_of(tmp_path, sampling={"seed": 7}),
        stage_of(tmp_path, users={"limit": 3}),
        stage_of(tmp_path, "judgements"),
    ]
    assert len(set(found)) == len(found)


def test_the_stages_are_there_where_a_job_has_both_judges_and_controls(tmp_path):
    def names(**evaluation):
        return {name for name in plan_of(tmp_path, {}, evaluation=evaluation).stages if "judgements" in name}

    assert names(judge={"gpt": {}}) == {"judgements-gpt"}
    assert names(controls=True) == set()
    assert names(judge={"judge": {}, "gpt": {}}, controls=True) == {
        "judgements", "judgements-gpt", "control_judgements", "control_judgements-gpt"
    }  # fmt: skip
    assert [judge_of(name) for name in ("control_judgements-gpt", "judgements-gpt", "scores")] == [None, "gpt", None]
