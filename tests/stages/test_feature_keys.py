"""The judge's labels stand beside the features that they were given for, whatever the judge says."""

import asyncio

import pyarrow as pa
import pytest

from drp_ray import schema
from drp_ray.engines.base import Completion, ModelSpec, RequestRefused, Sampling
from drp_ray.evaluation.analyses.taxonomy import KEYS, LABELS, read_label
from drp_ray.llm.row_caller import RoleSpec
from drp_ray.prompts.control_strings import restored
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages import feature_keys
from drp_ray.stages.feature_keys import FEATURE_KEYS, MapFeatures
from tests.job.test_pinned_fingerprints import plan_of

CALLS: list[tuple[str, int]] = []
"""What the judge was asked about, and with which seed."""

CHOICES: list = []
"""The labels that each call was held to; None for a free one."""


class Judge:
    """Answers with the words after `says:` in the feature's description; the second time with those after `then:`."""

    concurrency = 4
    context_length = None
    honours_seed = True

    def __init__(self, spec):
        pass

    async def start(self):
        pass

    async def close(self):
        pass

    async def complete(self, messages, sampling):
        said = restored(messages[1]["content"]).rpartition("Difference Description: ")[2].partition("\n")[0]
        if said == "refused":
            raise RequestRefused("no")
        again = any(said == earlier for earlier, _ in CALLS)
        CALLS.append((said, sampling.seed))
        CHOICES.append(sampling.choices)
        first, _, then = said.removeprefix("says:").partition("then:")
        await asyncio.sleep(0.001 * (len(said) % 3))
        return Completion(then if again and then else first, "stop", 10, 0, 2)


def difference(user, item, *said, rank=0, status="ok"):
    features = [{"name": f"feature {n}", "definition": "", "description": text} for n, text in enumerate(said)]
    return {"user_id": user, "item_id": item, "rank": rank, "status": status, "features": features}


def mapped(rows, earlier=None, thinks_first=False):
    CALLS.clear()
    CHOICES.clear()
    models = {"j": ModelSpec(engine=f"{__name__}:Judge", id="judge")}
    roles = {"judge": RoleSpec("j", Sampling(max_tokens=9))}
    worker = MapFeatures(models, roles, 1, 2, prompts=PromptPack.load(), thinks_first=thinks_first)

    async def work():
        await worker.start(lambda **counts: None)
        table = pa.Table.from_pylist(rows, schema.DIFFERENCES)
        made = await worker.work("part-00000.parquet", table, earlier)
        await worker.close()
        return made

    made = asyncio.run(work())
    return made, worker.facts(made)


def keys_of(made):
    return {
        (row["user_id"], row["item_id"]): [(each["index"], each["key"], each["direction"]) for each in row["keys"]]
        for row in made.to_pylist()
    }


def test_every_feature_has_the_label_that_was_given_for_it_and_its_own_place():
    made, facts = mapped([difference("u", "i", "says:length: shorter", "says:other", "says:**Formality: formal**")])
    assert made.schema == schema.FEATURE_KEYS
    assert keys_of(made) == {("u", "i"): [(0, "length", -1), (1, None, 0), (2, "formality", 1)]}
    assert (facts["features"], facts["unreadable_keys"], facts["other_keys"]) == (3, 0, 1)


@pytest.mark.parametrize("said", ["says:2. length: longer", "says:longer", "says:", "says:formality: longer"])
def test_what_cannot_be_read_is_asked_again_with_another_seed_and_then_missing(said):
    made, facts = mapped([difference("u", "i", said, "says:polarity: negative")])
    [row] = made.to_pylist()
    assert [each["readable"] for each in row["keys"]] == [False, True]
    assert keys_of(made)["u", "i"] == [(0, None, 0), (1, "polarity", -1)]
    assert row["status"] == "ok" and facts["unreadable_keys"] == 1
    seeds = [seed for asked, seed in CALLS if asked == said]
    assert len(set(seeds)) == len(seeds) == feature_keys.TIMES_ASKED
    made, facts = mapped([difference("u", "i", f"{said}then:length: longer")])
    assert keys_of(made)["u", "i"] == [(0, "length", 1)] and facts["unreadable_keys"] == 0


def test_the_judge_is_held_to_the_labels_that_can_be_read():
    mapped([difference("u", "i", "says:length: shorter")])
    assert [tuple(LABELS)] == CHOICES
    assert all(read_label(label) == LABELS[label] for label in LABELS)


def test_a_judge_that_thinks_does_so_first_and_is_asked_for_a_label_where_its_own_answer_is_none():
    said = "says:<think>Short.</think>length: shorter"
    made, _ = mapped([difference("u", "i", said)], thinks_first=True)
    assert keys_of(made)["u", "i"] == [(0, "length", -1)] and CHOICES == [None]
    made, _ = mapped([difference("u", "i", "says:<think>Short.</think>I am torn.then:other")], thinks_first=True)
    assert keys_of(made)["u", "i"] == [(0, None, 0)] and [None, tuple(LABELS)] == CHOICES


def test_a_failed_comparison_is_not_asked_about_and_is_marked():
    rows = [difference("u", "i", status="error"), difference("u", "k", "says:length: longer"), difference("v", "i")]
    made, facts = mapped(rows)
    assert made["failed"].to_pylist() == [True, False, False]
    assert len(CALLS) == 1 and facts["errors"] == 0


def test_a_refused_row_is_an_error_row_and_only_it_is_asked_again():
    rows = [difference("u", "i", "refused"), difference("u", "k", "says:length: longer")]
    made, facts = mapped(rows)
    assert made["status"].to_pylist() == ["error", "ok"] and facts["errors"] == 1
    rows[0]["features"][0]["description"] = "says:detail: general"
    again, facts = mapped(rows, made)
    assert keys_of(again) == {("u", "i"): [(0, "detail", -1)], ("u", "k"): [(0, "length", 1)]}
    assert [said for said, _ in CALLS] == ["says:detail: general"] and facts["errors"] == 0


def test_the_order_of_rows_and_what_stands_beside_them_changes_no_row():
    rows = [difference(f"u{n}", "i", f"says:{key.name}: {key.more}") for n, key in enumerate(KEYS)]
    whole, _ = mapped(rows)
    by_user = {row["user_id"]: row for row in whole.to_pylist()}
    turned, _ = mapped(rows[::-1])
    alone, _ = mapped(rows[3:4])
    assert {row["user_id"]: row for row in turned.to_pylist()} == by_user
    assert alone.to_pylist() == [by_user["u3"]]


def test_the_stage_is_there_only_where_it_is_asked_for_and_there_are_differences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = plan_of("quickstart", "drp")
    assert "feature_keys" not in before.stages
    monkeypatch.setattr("tests.job.test_pinned_fingerprints.checked", with_feature_keys)
    after = plan_of("quickstart", "drp")
    assert set(after.stages) - set(before.stages) == {"feature_keys"}
    assert "feature_keys" not in plan_of("quickstart", "rag").stages
    fingerprints = [{name: info.fingerprint for name, info in plan.stages.items()} for plan in (before, after)]
    assert fingerprints[1].items() >= fingerprints[0].items()
    assert FEATURE_KEYS.only_evaluates


def with_feature_keys(settings, where):
    from drp_ray.config import checked

    return checked({**settings, "evaluation": {**settings.get("evaluation", {}), "feature_keys": True}}, where)


def test_another_taxonomy_judge_or_temperature_is_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.job.test_pinned_fingerprints.checked", with_feature_keys)

    def fingerprint():
        return plan_of("quickstart", "drp").stages["feature_keys"].fingerprint

    before = fingerprint()
    assert fingerprint() == before
    monkeypatch.setattr(feature_keys, "_KEYS", feature_keys._KEYS[1:])
    assert fingerprint() != before
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tests.job.test_pinned_fingerprints.checked",
        lambda settings, where: with_feature_keys(
            {**settings, "sampling": {**settings["sampling"], "judge": {"temperature": 0}}}, where
        ),
    )
    assert fingerprint() != before
