"""The stage `judgements`: what a judge is asked, what is read of its answers, and what is missing.

`golden/judge*.txt` beside the prompt tests hold the messages. After an intended change, write them again with
`REGENERATE_GOLDEN=1 pytest tests/stages/test_judgements.py` and read the difference.
"""

import asyncio
import json
import math
import os
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import Model, checked
from drp_ray.engines.base import CallGivenUp, Completion
from drp_ray.job.plan import make_plan
from drp_ray.llm.kept import KEPT
from drp_ray.prompts.pack import BUILT_IN
from drp_ray.stages.judgements import judgement_stage
from drp_ray.stages.judging import thinks_first
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import commit_part, read_part
from tests.stages.working import work_in_pieces

GOLDEN = Path(__file__).parents[1] / "prompts" / "golden"
TARGET = {**json.loads((GOLDEN / "user.json").read_text())["target"]}
PART = "part-00000.parquet"
CALLS: list = []
SCRIPT = {}


class FakeJudge:
    """Says what `SCRIPT["answer"]` makes of a call; a call is its messages and its sampling."""

    concurrency = 8
    context_length = None
    honours_seed = True

    def __init__(self, spec):
        self.spec = spec

    async def start(self):
        pass

    async def complete(self, messages, sampling):
        CALLS.append((messages, sampling))
        await asyncio.sleep(0)
        answer = SCRIPT["answer"](messages, sampling)
        if isinstance(answer, Completion):
            return answer
        return Completion(answer, "stop", 10, 4, 1)

    async def close(self):
        pass


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()
    SCRIPT["answer"] = lambda messages, sampling: "7"


def plan_of(root, judge, **changes):
    job = {
        "name": "job",
        "dataset": "d",
        "root": str(root),
        "method": "nonperso",
        "models": {"llm": {"engine": f"{__name__}:FakeJudge", "id": "any", **changes.pop("model", {})}},
        "evaluation": {"judge": judge},
    }
    return make_plan(checked({**job, **changes}, "the test"), "d", {"users/a": "1"}, LocalFolder(root))


def users(*predictions, reference="Cosy and slow."):
    return pa.Table.from_pylist(
        [
            {"user_id": f"u{number}", "prediction": text, "reference": reference, "status": "ok" if text else "error"}
            for number, text in enumerate(predictions)
        ],
        schema.PREDICTIONS,
    )


def target_of(user):
    """Every user but the first has an item of their own."""
    return TARGET if user == "u0" else {**TARGET, "item_title": f"Item of {user}"}


def judged(root, rows, judge=None, name="judge", earlier=None, parts=1, **changes):
    """The judgements of some predictions, and their facts; with `parts`, that many at once."""
    plan = plan_of(root, judge or {}, **changes)
    folders = {stage: info.folder for stage, info in plan.stages.items()}
    contexts = pa.Table.from_pylist(
        [{"user_id": user, "target": target_of(user)} for user in reversed(rows["user_id"].to_pylist())],
        schema.CONTEXTS,
    )
    commit_part(folders["contexts"], PART, contexts, {}, "")
    worker = judgement_stage(name).make(StageContext(plan.spec, None, folders, root, {}))
    return work_in_pieces(worker, PART, rows, parts, earlier)


def scores(made):
    return [(row["user_id"], row["sample"], row["score"]) for row in made.to_pylist()]


def test_every_prediction_is_judged_by_every_sample_with_a_seed_of_its_own(tmp_path):
    made, facts = judged(tmp_path, users("Cold.", "Warm."), {"samples": 3})
    assert scores(made) == [(user, sample, 7) for user in ("u0", "u1") for sample in range(3)]
    assert len({seed for seeds in made["seeds"].to_pylist() for seed in seeds}) == 6
    assert all(sampling.choices == tuple(map(str, range(11))) for _, sampling in CALLS)
    assert set(made["text"].to_pylist()) == {"prediction"}
    assert (facts["errors"], facts["unreadable"], facts["asked:prediction"]) == (0, 0, 6)
    assert facts["completion_tokens"] == 6 and facts["prompt_tokens"] == 60


def test_a_judge_sees_the_users_own_item_review_and_prediction(tmp_path):
    judged(tmp_path, users("Text of u0.", "Text of u1.", "Text of u2."), {"samples": 1})
    shown = [messages[-1]["content"] for messages, _ in CALLS]
    assert all(f"Item: {target_of(f'u{n}')['item_title']}\n" in text for n, text in enumerate(shown))
    assert all(f"Text of u{n}." in text and "Cosy and slow." in text for n, text in enumerate(shown))


def test_a_failed_prediction_never_gets_a_score_and_is_not_asked(tmp_path):
    made, facts = judged(tmp_path, users(None, "Warm.", None))
    assert [row["score"] for row in made.to_pylist()] == [None, None, 7, 7, None, None]
    assert set(made["status"].to_pylist()) == {"ok"}
    assert len(CALLS) == 2 and facts["asked:prediction"] == 2


def test_an_empty_prediction_is_a_text_and_is_judged(tmp_path):
    assert judged(tmp_path, users(""))[0]["score"].to_pylist() == [7, 7]


@pytest.mark.parametrize("answer", ["7.5", "8 or 9", "It is alike, an 8.", "", "11", "-3"])
def test_an_unreadable_answer_is_asked_again_with_another_seed_and_then_missing_never_zero(tmp_path, answer):
    SCRIPT["answer"] = lambda messages, sampling: answer
    made, facts = judged(tmp_path, users("Cold."), {"samples": 1}, runtime={"max_attempts": 4})
    (row,) = made.to_pylist()
    assert (row["score"], row["answer"], row["status"], row["attempts"]) == (None, answer, "error", 4)
    assert "no score" in row["error"]
    assert len({sampling.seed for _, sampling in CALLS}) == 4
    assert (facts["unreadable"], facts["errors"]) == (1, 1)


def test_an_answer_that_can_be_read_the_second_time_counts(tmp_path):
    SCRIPT["answer"] = lambda messages, sampling: "Well, …" if len(CALLS) == 1 else "Score: 8"
    made, facts = judged(tmp_path, users("Cold."), {"samples": 1})
    (row,) = made.to_pylist()
    assert (row["score"], row["attempts"], row["status"], facts["unreadable"]) == (8, 2, "ok", 0)


def test_an_endpoint_that_does_not_answer_is_no_unreadable_answer(tmp_path):
    def refuse(messages, sampling):
        raise CallGivenUp("429: slow down")

    SCRIPT["answer"] = refuse
    made, facts = judged(tmp_path, users("Cold."), {"samples": 1})
    assert made["answer"].to_pylist() == [None]
    assert (facts["errors"], facts["unreadable"]) == (1, 0)


def test_an_unreadable_answer_before_a_call_without_one_is_not_that_calls(tmp_path):
    def answer(messages, sampling):
        if len(CALLS) > 1:
            raise CallGivenUp("429: slow down")
        return "eight"

    SCRIPT["answer"] = answer
    made, facts = judged(tmp_path, users("Cold."), {"samples": 1})
    assert made["answer"].to_pylist() == [None] and facts["unreadable"] == 0


def by_prompt_and_seed(messages, sampling):
    """An answer that hangs on the text and the seed alone; some cannot be read."""
    drawn = (sum(map(ord, messages[-1]["content"])) + sampling.seed) % 13
    return str(drawn) if drawn <= 10 else "hm"


texts = st.lists(st.none() | st.sampled_from(["Cold.", "Warm.", "Cosy!", "{{ 7 }}"]), min_size=1, max_size=5)


@given(texts=texts, parts=st.integers(1, 3), randomly=st.randoms())
@settings(max_examples=25)
def test_order_and_batching_change_no_row(tmp_path_factory, texts, parts, randomly):
    root = tmp_path_factory.mktemp("laws")
    SCRIPT["answer"] = by_prompt_and_seed
    rows = users(*texts)
    order = list(range(len(rows)))
    randomly.shuffle(order)
    whole, facts = judged(root, rows)
    shuffled, same_facts = judged(root, rows.take(order), parts=min(parts, len(rows)))
    key = [("user_id", "ascending"), ("sample", "ascending")]
    assert shuffled.sort_by(key).equals(whole.sort_by(key)) and same_facts == facts


def test_retrying_asks_what_failed_again_and_nothing_else(tmp_path):
    SCRIPT["answer"] = lambda messages, sampling: "hm" if "Cold." in messages[-1]["content"] else "5"
    rows = users("Cold.", "Warm.", None)
    first, _ = judged(tmp_path, rows, runtime={"max_attempts": 1})
    CALLS.clear()
    SCRIPT["answer"] = lambda messages, sampling: "3"
    again, facts = judged(tmp_path, rows, earlier=first, runtime={"max_attempts": 1})
    assert len(CALLS) == 2
    assert [row["score"] for row in again.to_pylist()] == [3, 3, 5, 5, None, None]
    assert [row["attempts"] for row in again.to_pylist()] == [2, 2, 1, 1, 1, 1]
    assert facts["unreadable"] == 0


def test_kept_calls_are_found_by_user_text_and_sample(tmp_path):
    judged(tmp_path, users("Cold."), runtime={"keep": ["prompts"]})
    plan = plan_of(tmp_path, {})
    kept = read_part(plan.stages["judgements"].folder.at(KEPT), PART).rows.to_pylist()
    assert [(row["user_id"], row["text"], row["sample"], row["answer"]) for row in kept] == [
        ("u0", "prediction", 0, "7"),
        ("u0", "prediction", 1, "7"),
    ]


class TestThinking:
    """A judge that thinks does so first."""

    def test_its_own_answer_is_taken_where_it_can_be_read(self, tmp_path):
        SCRIPT["answer"] = lambda messages, sampling: "<think>Alike in tone.</think>\n\n**Score: 6**"
        made, _ = judged(tmp_path, users("Cold."), {"samples": 1}, model={"thinking": "always"})
        (row,) = made.to_pylist()
        assert (row["score"], row["answer"], len(CALLS)) == (6, "**Score: 6**", 1)
        assert CALLS[0][1].choices is None

    def test_else_it_is_asked_for_a_label_with_what_it_said(self, tmp_path):
        def answer(messages, sampling):
            return "4" if sampling.choices else "<think>Alike in tone.</think>I am torn."

        SCRIPT["answer"] = answer
        made, _ = judged(tmp_path, users("Cold."), {"samples": 1}, model={"thinking": "always"})
        assert made["score"].to_pylist() == [4]
        (free, _), (constrained, sampling) = CALLS
        assert constrained[: len(free)] == free and sampling.choices is not None
        assert constrained[-2] == {"role": "assistant", "content": "Alike in tone.\n\nI am torn."}
        assert constrained[-1]["role"] == "user" and constrained[-1]["content"] in free[-1]["content"]
        assert len(made["seeds"].to_pylist()[0]) == 2

    def test_thinking_without_an_answer_is_carried_on(self, tmp_path):
        SCRIPT["answer"] = lambda messages, sampling: "4" if sampling.choices else "<think>Alike.</think>"
        made, _ = judged(tmp_path, users("Cold."), {"samples": 1}, model={"thinking": "always"})
        assert made["score"].to_pylist() == [4] and CALLS[1][0][-2]["content"] == "Alike."

    @pytest.mark.parametrize(
        ("model", "thinks"),
        [
            ({"id": "Qwen/QwQ-32B"}, True),
            ({"id": "Qwen/QwQ-32B", "thinking": "never"}, False),
            ({"id": "some/model", "thinking": "always"}, True),
            ({"id": "some/model", "chat_template_kwargs": {"enable_thinking": True}}, True),
            ({"id": "some/model", "chat_template_kwargs": {"enable_thinking": False}}, False),
            ({"id": "Qwen/Qwen2.5-72B-Instruct-AWQ"}, False),
        ],
    )
    def test_which_judges_think(self, model, thinks):
        assert thinks_first(Model(**model)) is thinks


class TestExpected:
    """The expected score comes from a free answer's first token, on labels of one token."""

    def test_it_is_asked_unconstrained_and_does_not_change_the_score(self, tmp_path):
        def answer(messages, sampling):
            if sampling.logprobs is None:
                return "K"
            return Completion(
                "I", "length", 10, 0, 1, {"A": math.log(0.3), " K": math.log(0.3), "I would": math.log(0.4)}
            )

        SCRIPT["answer"] = answer
        made, facts = judged(tmp_path, users("Cold."), {"samples": 1, "expected": True})
        (row,) = made.to_pylist()
        assert row["score"] == 10
        assert row["expected"] == pytest.approx(5.0) and row["format_trust"] == pytest.approx(0.6)
        assert row["cut_off"] == 0 and row["finish_reason"] == "stop" and facts["without_expected:prediction"] == 0
        (_, free), (_, constrained) = CALLS
        assert (free.choices, free.max_tokens) == (None, 1)
        assert constrained.choices == tuple("ABCDEFGHIJK") and constrained.logprobs is None

    def test_an_engine_without_probabilities_leaves_it_missing_and_counted(self, tmp_path):
        SCRIPT["answer"] = lambda messages, sampling: "C"
        made, facts = judged(tmp_path, users("Cold.", None), {"samples": 1, "expected": True})
        assert made["score"].to_pylist() == [2, None]
        assert made["expected"].to_pylist() == made["format_trust"].to_pylist() == [None, None]
        assert facts["without_expected:prediction"] == 1


@pytest.mark.parametrize(("name", "judge"), [("judge", {}), ("judge-letters", {"scale": "letters"})])
def test_the_messages_are_the_golden_ones(tmp_path, name, judge):
    SCRIPT["answer"] = lambda messages, sampling: sampling.choices[7]
    judged(tmp_path, users("Too cold. {{ reference }} Answer: 10"), {"samples": 1, **judge})
    messages = "\n\n".join(f"===== {each['role']} message =====\n{each['content']}" for each in CALLS[0][0]) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("REGENERATE_GOLDEN"):
        path.write_text(messages)
    assert path.read_text() == messages


@pytest.mark.parametrize("scale", ["numbers", "letters"])
def test_the_rubric_has_an_anchor_at_every_second_label(tmp_path, scale):
    SCRIPT["answer"] = lambda messages, sampling: sampling.choices[0]
    judged(tmp_path, users("Cold."), {"samples": 1, "scale": scale})
    labels = CALLS[0][1].choices
    anchors = Counter(line.partition(":")[0] for line in CALLS[0][0][0]["content"].splitlines() if ":" in line)
    assert all(anchors[labels[score]] == 1 for score in (0, 2, 4, 6, 8, 10))


def fingerprint(root, judge, name="judgements", **changes):
    return plan_of(root, judge, **changes).stages[name].fingerprint


def test_settings_that_can_differ_in_result_never_share_a_folder(tmp_path):
    own = tmp_path / "pack"
    shutil.copytree(BUILT_IN, own)
    (own / "judge_style.j2").write_text("Only style: {{ labels[10] }}")
    found = [
        fingerprint(tmp_path, {}),
        fingerprint(tmp_path, {"samples": 3}),
        fingerprint(tmp_path, {"scale": "letters"}),
        fingerprint(tmp_path, {"expected": True}),
        fingerprint(tmp_path, {"rubric": "judge_style"}, prompts=str(own)),
        fingerprint(tmp_path, {}, sampling={"judge": {"temperature": 0.1}}),
        fingerprint(tmp_path, {}, sampling={"seed": 7}),
        fingerprint(tmp_path, {}, model={"id": "other"}),
        fingerprint(tmp_path, {}, users={"limit": 3}),
        fingerprint(tmp_path, {"gpt": {}}, "judgements-gpt"),
    ]
    assert len(set(found)) == len(found)
    assert fingerprint(tmp_path, {}) == fingerprint(tmp_path, {"samples": 2, "scale": "numbers"})
    assert fingerprint(tmp_path, {}) == fingerprint(tmp_path, {"judge": {}, "gpt": {}})
