"""Which judges have judged a run and its controls: only those of the same settings, and of what is there now."""

import pyarrow as pa
import pytest

from drp_ray import schema
from drp_ray.evaluation.controls import OF_DATA
from drp_ray.job.judged import judged_in
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import Manifest, PartEntry, commit_part, part_name, read_manifest, write_manifest

SETTINGS = {"samples": 2, "expected": False, "scale": "numbers", "roles": {"judge": {"model": {"id": "some/model"}}}}
SCORES = {"prediction": 4, "reference": 10, "own_review": 5, "other_review": None}


def stage(root, name, texts, inputs):
    """A finished stage of two users, whose rows have the scores of some texts."""
    folder, entry = LocalFolder(root / name), part_name(0)
    rows = [{"user_id": user, "text": text, "sample": 0, "score": SCORES[text]} for user in "ba" for text in texts]
    made = commit_part(folder, entry, pa.Table.from_pylist(rows, schema.JUDGEMENTS), {}, "")
    parts = [PartEntry(name=entry, rows=len(rows), digest=made.digest)]
    manifest = Manifest(stage=name, fingerprint=name, made_from={}, inputs=inputs, parts=parts, totals={"rows": 1})
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def stages(tmp_path):
    """What a run has: predictions and controls, and what a judge said of both."""
    made = {name: stage(tmp_path, name, ["prediction"], {}) for name in ("predictions", "controls")}
    inputs = {name: read_manifest(folder).content for name, folder in made.items()}
    of_run = {"predictions": inputs["predictions"]}
    made["judgements-gpt"] = stage(tmp_path, "judgements-gpt", ["prediction"], of_run)
    of_data = {"controls": inputs["controls"]}
    made["control_judgements-gpt"] = stage(tmp_path, "control_judgements-gpt", OF_DATA, of_data)
    return {name: (SETTINGS, folder) for name, folder in made.items()}


def found(stages):
    [judged] = judged_in(stages, read_manifest(stages["predictions"][1]))
    return {name: table[name].to_pylist() for table in judged.control_columns() for name in table.column_names[1:]}


def test_the_controls_of_a_judge_have_a_column_each_and_what_is_missing_is_null(stages):
    assert found(stages) == {
        "reference:judge_gpt": [1.0, 1.0],
        "own_review:judge_gpt": [0.5, 0.5],
        "other_review:judge_gpt": [None, None],
    }


@pytest.mark.parametrize("missing", ["controls", "control_judgements-gpt"])
def test_a_judge_that_was_not_asked_about_them_has_none(stages, missing):
    assert found({name: stage for name, stage in stages.items() if name != missing}) == {}


def test_another_judge_of_the_same_name_is_not_the_floor_of_this_one(stages):
    _, folder = stages["control_judgements-gpt"]
    assert found({**stages, "control_judgements-gpt": ({**SETTINGS, "samples": 3}, folder)}) == {}
    assert found({**stages, "control_judgements": stages["control_judgements-gpt"]}) == found(stages)


def test_judgements_of_other_controls_than_those_of_now_do_not_count(stages, tmp_path):
    changed = stage(tmp_path, "changed", ["reference"], {})
    assert found({**stages, "controls": ({}, changed)}) == {}
    assert list(judged_in(stages, read_manifest(changed))) == []


def test_a_seed_makes_no_other_judge_and_any_other_setting_does(stages):
    def signature(**settings):
        _, folder = stages["judgements-gpt"]
        given = {**stages, "judgements-gpt": ({**SETTINGS, **settings}, folder)}
        [judged] = judged_in(given, read_manifest(stages["predictions"][1]))
        return judged.signature

    assert signature(seed=1) == signature(seed=2) != signature(seed=1, prompts={"judge": "another"})
