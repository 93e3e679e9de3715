"""The papers' procedure as it is compared with makes the rows that the package makes."""

import json
import random
import shutil
from pathlib import Path

import pytest

from benchmarks import against_reference, reference
from benchmarks.reference import Case, Pair
from drp_ray.config import Config
from drp_ray.data.sample import sample_dataset
from drp_ray.data.sample_files import write_sample
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages.retrieval import retrieve
from drp_ray.storage.folder import LocalFolder

USERS = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    write_sample(LocalFolder(folder / "sample"), USERS, seed=3)
    settings = {"name": "r", "dataset": str(folder / "sample"), "root": str(folder), "method": "drp"}
    return Config.model_validate({**settings, "models": {"llm": {"id": "any"}}, "users": {"limit": 40}})


def test_it_retrieves_what_the_package_retrieves(config):
    users, catalogue = sample_dataset(USERS, 3)
    reviewers: dict[str, set[str]] = {}
    for user in users.to_pylist():
        for review in user["profile"]:
            reviewers.setdefault(review["item_id"], set()).add(user["user_id"])
    known = {
        row["item_id"]: type("Item", (), {**row, "reviewers": len(reviewers.get(row["item_id"], ()))})
        for row in catalogue.to_pylist()
    }
    # An item has just as many other reviewers as are needed, so that counting one too few or too many is seen.
    k = sorted(map(len, reviewers.values()))[len(reviewers) // 2] - 1
    config = config.model_copy(update={"selection": config.selection.model_copy(update={"k": k})})
    cases, _ = reference.load_cases(config)
    assert len(cases) == 40 and any(len(case.pairs) < config.retrieval.n for case in cases)
    for case in cases:
        profile = case.user["profile"]
        found = retrieve(profile, case.user["target"], known, config.retrieval, config.selection.k)
        assert [past["item_id"] for past in case.history] == [profile[place]["item_id"] for place in found.history]
        assert [pair.item_id for pair in case.pairs] == [profile[place]["item_id"] for place in found.eligible]


def test_items_beside_the_dataset_are_those_inside_it(config, tmp_path):
    inside = Path(config.dataset)
    shutil.copytree(inside / "users", tmp_path / "test" / "users")
    shutil.copytree(inside / "items", tmp_path / "items")
    beside = config.model_copy(update={"dataset": str(tmp_path / "test")})
    assert reference.load_cases(beside)[1] == reference.load_cases(config)[1] != {}


class Echo:
    """Answers in the order of the prompts, and notes which role was asked how often at once."""

    def __init__(self):
        self.rounds = []
        self.log = {}

    def generate(self, role, prompts):
        self.rounds.append((role, len(prompts)))
        replies = []
        for prompt in prompts:
            key = json.dumps(prompt.messages_for_model())
            block = f"[Habit]\nDefinition: one\nDifference Description: {role} {len(self.log)}"
            self.log[key] = block if role in ("extractor", "validator") else f"[Summary]: {role} {len(self.log)}"
            replies.append(self.log[key])
        return replies


def compared(cases, items):
    chance = random.Random(0)
    chosen = {}
    for pair in [pair for case in cases for pair in case.pairs]:
        others = [review["user_id"] for review in pair.reviews if review["user_id"] != pair.user_id]
        chosen[pair.key] = chance.sample(others, 2)
    reference.set_comparisons(cases, chosen, items)
    return chosen


def test_a_round_has_one_rank_of_all_users_and_begins_when_the_last_has_ended(config):
    cases, items = reference.load_cases(config)
    compared(cases, items)
    llm = Echo()
    reference.write_all(cases, llm, PromptPack.load(), config)
    ranks = max(len(case.pairs) for case in cases)
    at_rank = [sum(len(case.comparisons) > rank for case in cases) for rank in range(ranks)]
    summarized = sum(bool(case.history) for case in cases)
    assert llm.rounds == [
        *(("extractor", count) for count in at_rank),
        *(("validator", count) for count in at_rank),
        ("summarizer", summarized),
        ("generator", len(cases)),
    ]
    assert all(case.prediction for case in cases)


def calls_of(log):
    return [against_reference.Call(json.loads(key), reply, 0, 1, 1, 0, 1) for key, reply in log.items()]


def test_replies_that_are_played_back_lead_to_the_same_prompts_and_predictions(config):
    cases, items = reference.load_cases(config)
    chosen, llm = compared(cases, items), Echo()
    reference.write_all(cases, llm, PromptPack.load(), config)
    rows = [
        {"user_id": case.user["user_id"], "prediction": case.prediction, "status": "ok", "attempts": 1}
        for case in cases
    ]
    against_reference.check_prompts(calls_of(llm.log), chosen, config, rows)
    with pytest.raises(AssertionError, match="other predictions for 1 users"):
        against_reference.check_prompts(calls_of(llm.log), chosen, config, [{**rows[0], "prediction": "x"}, *rows[1:]])
    unasked = {**llm.log, json.dumps([{"role": "user", "content": "another prompt"}]): "x"}
    with pytest.raises(AssertionError, match="did not ask 1 of the job's"):
        against_reference.check_prompts(calls_of(unasked), chosen, config, rows)


def test_other_representatives_are_told():
    against_reference.check_representatives({"u i": ["a"]}, {"u i": ["a"], "u j": ["b"]})
    with pytest.raises(AssertionError, match="1 of 1 pairs have other representatives"):
        against_reference.check_representatives({"u i": ["a"]}, {"u i": ["b"]})


def test_what_a_share_leaves_out_is_reckoned_by_encoded_text_and_by_pair():
    found = {
        "encodes": 10,
        "encodes_in_all": 40,
        "pairs": 2,
        "pairs_in_all": 10,
        "embedding_s": 5.0,
        "clustering_s": 1.0,
    }
    assert against_reference.left_out(found, "s") == 5.0 * 3 + 1.0 * 4
    assert against_reference.left_out({**found, "encodes": 40, "pairs": 10}, "s") == 0


def test_a_share_is_drawn_with_a_seed():
    pairs = [Pair(str(number), "i", {}, []) for number in range(100)]
    cases = [Case({}, [], pairs[:40]), Case({}, [], pairs[40:])]
    assert reference.drawn(cases, 0.1) == reference.drawn(cases, 0.1)
    assert len(reference.drawn(cases, 0.1)) == 10 and len(reference.drawn(cases, 1.0)) == 100
