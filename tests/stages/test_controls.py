"""Controls: real texts of the same users and items, chosen alike in every run, with nothing of the target in them."""

import json
import shutil
from collections import Counter
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray import schema
from drp_ray.config import checked
from drp_ray.data.sample_files import write_sample
from drp_ray.evaluation.authorship import AUTHORS, LONGEST
from drp_ray.evaluation.controls import CEILING, CONTROLS, FLOOR, OF_DATA
from drp_ray.job.checks import prepared
from drp_ray.job.levels import run_stage
from drp_ray.job.opened_job import open_job
from drp_ray.job.run import evaluate, run
from drp_ray.job.run_scores import read_user_scores
from drp_ray.job.score_lines import score_lines
from drp_ray.stages.controls import MIN_OTHER_REVIEWS, WANTED, control_row, other_reviews, search, swapped_users
from drp_ray.stages.prediction_controls import predictions_for, texts_of
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import part_names, read_rows

USERS, SAMPLES = 24, 2
TEXTS = ["a", "b", "c", "the words of the target", "the  words of\nthe target", "more of it", ""]
REVIEW = st.builds(
    lambda item, text, time: {"item_id": item, "rating": 4.0, "title": None, "text": text, "timestamp": time},
    st.sampled_from("ij"),
    st.sampled_from(TEXTS),
    st.integers(1, 9),
)
PEOPLE = st.lists(st.tuples(st.lists(REVIEW, max_size=5), REVIEW), min_size=1, max_size=9)


def people(drawn):
    return [{"user_id": f"u{n}", "profile": profile, "target": target} for n, (profile, target) in enumerate(drawn)]


def wanted_by(users):
    targets = {user["user_id"]: user["target"] for user in users}
    partners = swapped_users((target["item_id"], user) for user, target in targets.items())
    return [
        {
            "part": 0,
            "user_id": user,
            "item_id": target["item_id"],
            "text": target["text"],
            "until": target["timestamp"],
            "swapped_user": partners.get(user),
        }
        for user, target in targets.items()
    ]


def controls_of(users, groups):
    """The controls of all users, by user; `groups` are the users of each row group."""
    requests = wanted_by(users)
    table = pa.Table.from_pylist(requests, WANTED.append(pa.field("swapped_user", pa.string())))
    found = [row for group in groups for row in search(pa.Table.from_pylist(group, schema.USERS), table)]
    found.sort(key=lambda row: row["order"])
    return {
        user["user_id"]: control_row(user, request, [row for row in found if row["for_user"] == user["user_id"]])
        for user, request in zip(users, requests, strict=True)
    }


def same_words(one, other):
    return one.split() == other.split()


@given(drawn=PEOPLE)
def test_controls_are_real_texts_with_nothing_of_the_target_in_them(drawn):
    users = people(drawn)
    by_id = {user["user_id"]: user for user in users}
    for name, row in controls_of(users, [users]).items():
        target = by_id[name]["target"]
        others = [each for each in users if each["user_id"] != name]
        of_item = [
            review["text"]
            for other in others
            for review in (*other["profile"], other["target"])
            if review["item_id"] == target["item_id"] and not same_words(review["text"], target["text"])
        ]
        assert row["other_review"] in of_item if of_item else row["other_review"] is None
        own = [
            review["text"]
            for review in by_id[name]["profile"]
            if review["item_id"] != target["item_id"] and review["timestamp"] <= target["timestamp"]
        ]
        assert row["own_review"] is None or row["own_review"] in own
        assert row["own_review"] is None or not same_words(row["own_review"], target["text"])
        if row["swapped_user"] is not None:
            partner = by_id[row["swapped_user"]]
            assert partner is not by_id[name] and partner["target"]["item_id"] == target["item_id"]
        for author in row["authors"] or ():
            written = by_id[author["user_id"]]
            reviews = [*written["profile"], *([written["target"]] if author["user_id"] != name else [])]
            allowed = [
                review["text"]
                for review in reviews
                if review["item_id"] != target["item_id"] and review["timestamp"] <= target["timestamp"]
            ]
            assert set(author["reviews"]) <= set(allowed)
            assert not any(same_words(text, target["text"]) for text in author["reviews"])


@given(drawn=PEOPLE)
def test_the_five_authors_are_the_user_once_and_four_other_reviewers_of_the_item(drawn):
    users = people(drawn)
    by_id = {user["user_id"]: user for user in users}
    for name, row in controls_of(users, [users]).items():
        if row["authors"] is None:
            continue
        ids = [author["user_id"] for author in row["authors"]]
        assert len(ids) == len(set(ids)) == AUTHORS and ids.count(name) == 1 and ids == sorted(ids)
        item = by_id[name]["target"]["item_id"]
        for other in set(ids) - {name}:
            assert item in {review["item_id"] for review in (*by_id[other]["profile"], by_id[other]["target"])}


@given(drawn=PEOPLE, order=st.randoms(), cut=st.integers(0, 9))
def test_the_order_of_users_and_the_cuts_of_files_change_nothing(drawn, order, cut):
    users = people(drawn)
    shuffled = users.copy()
    order.shuffle(shuffled)
    assert controls_of(shuffled, [shuffled[:cut], shuffled[cut:]]) == controls_of(users, [users])


@given(targets=st.lists(st.sampled_from("ijk"), max_size=12))
def test_every_prediction_is_swapped_once_and_never_with_its_own_user(targets):
    pairs = [(item, f"u{n}") for n, item in enumerate(targets)]
    partners = swapped_users(pairs)
    item_of = {user: item for item, user in pairs}
    assert all(user != other and item_of[user] == item_of[other] for user, other in partners.items())
    assert sorted(partners) == sorted(partners.values())
    assert set(item_of) - set(partners) == {user for user, item in item_of.items() if targets.count(item) == 1}


@given(st.lists(st.none() | st.integers(0, 9), max_size=10), st.integers(0, 9), st.integers(0, 9))
def test_a_part_reads_the_predictions_of_its_users_and_of_their_partners(partners, start, end):
    named = [None if partner is None else f"u{partner}" for partner in partners]
    users = [f"u{number}" for number in range(len(partners))]
    everyone = pa.table({"user_id": [f"u{n}" for n in range(10)], "prediction": [None, *"abcdefghi"]})
    columns = {"user_id": pa.array(users, pa.string()), "swapped_user": pa.array(named, pa.string())}
    part = pa.table(columns).slice(start, end)
    found = predictions_for(part, everyone)
    wanted = {*part["user_id"].to_pylist(), *part["swapped_user"].to_pylist()} - {None}
    assert found == {user: text for user, text in zip(*everyone.to_pydict().values(), strict=True) if user in wanted}


def test_a_user_whose_prediction_failed_has_no_control_of_it():
    predicted = {"a": "one", "b": None, "c": "three"}
    texts = texts_of(["a", "b", "c"], ["b", "c", "a"], predicted)
    assert texts == {"prediction": ["one", None, "three"], "swapped_prediction": [None, None, "one"]}


def test_other_reviews_are_the_newest_until_the_target_and_no_more_than_can_be_compared():
    review = {"item_id": "j", "rating": 4.0, "title": None, "timestamp": 1}
    request = {"item_id": "i", "text": "target", "until": 5}
    reviews = [{**review, "text": f"{time}" * LONGEST, "timestamp": time} for time in (1, 5, 6)]
    assert MIN_OTHER_REVIEWS == 2
    assert other_reviews(reviews, request) == ["5" * LONGEST]
    assert other_reviews(reviews[1:], request) is None


@pytest.fixture(scope="module")
def runs(ray_here, tmp_path_factory):
    """A judged run to which controls are added, and the controls alone of the same users in other files and parts."""
    folder = tmp_path_factory.mktemp("controls")
    write_sample(LocalFolder(folder / "sample"), USERS, seed=3)
    users = pa.concat_tables([pq.read_table(path) for path in sorted((folder / "sample" / "users").iterdir())])
    order = np.random.default_rng(0).permutation(users.num_rows)
    (folder / "other" / "sample" / "users").mkdir(parents=True)
    pq.write_table(users.take(order), folder / "other" / "sample" / "users" / "part-0.parquet", row_group_size=7)
    shutil.copytree(folder / "sample" / "items", folder / "other" / "sample" / "items")
    log, script = folder / "log", folder / "script"
    refused = [row["text"] for row in users["profile"][0].as_py()[:1]]
    script.write_text(json.dumps({"log": str(log), "refuse": refused, "answers": ["2", "9", "4", "7.5"]}))

    def opened(dataset, controls=True, **runtime):
        settings = {
            "name": "run",
            "dataset": str(dataset),
            "root": str(dataset) + "-results",
            "method": "intsum",
            "models": {"llm": {"engine": "tests.fakes:ScriptedJudge", "id": str(script)}},
            "evaluation": {"controls": controls, "judge": {"samples": SAMPLES}},
            "runtime": {"num_cpus": 2, "max_error_rate": 1, "max_attempts": 1, **runtime},
        }
        return open_job(checked(settings, "the test"))

    def calls():
        return Counter(line.split()[0] for line in log.read_text().splitlines())

    plain = opened(folder / "sample", controls=False)
    run(plain, lambda line: None)
    before = SimpleNamespace(calls=calls(), files=files_of(plain))
    whole = opened(folder / "sample")
    result = evaluate(whole, lambda line: None)
    tables = {stage: read_rows(info.folder).sort_by("user_id") for stage, info in whole.plan.stages.items()}
    cut = opened(folder / "other" / "sample", rows_per_part=5)
    with prepared([cut], ["users", "controls"], lambda line: None, False, False) as options:
        folders = {name: info.folder for name, info in cut.plan.stages.items()}
        context = StageContext(cut.plan.spec, cut.dataset, folders, cut.cache, {})
        for stage in ("users", "controls"):
            run_stage(cut, stage, context, options)
    return SimpleNamespace(plain=plain, before=before, job=whole, result=result, calls=calls(), cut=cut, **tables)


def files_of(job):
    """Every file of a job's stages."""
    folders = [info.folder for info in job.plan.stages.values()]
    return {(folder.uri, entry.name): folder.read(entry.name) for folder in folders for entry in folder.entries()}


def test_the_layout_of_the_dataset_and_the_size_of_parts_change_no_control(runs):
    folder = runs.cut.plan.stages["controls"].folder
    assert len(part_names(folder)) > len(part_names(runs.job.plan.stages["controls"].folder))
    assert read_rows(folder).sort_by("user_id").to_pylist() == runs.controls.to_pylist()
    assert runs.controls["authors"].null_count < USERS / 2, "the sample has authors to tell apart"


def test_a_failed_prediction_has_nulls_and_takes_its_users_controls_along(runs):
    failed = runs.predictions.filter(pc.equal(runs.predictions["status"], "error"))["user_id"].to_pylist()
    assert 0 < len(failed) < USERS
    for row in runs.prediction_controls.to_pylist():
        if row["user_id"] in failed:
            assert set(row.values()) == {row["user_id"], None}
    reported = runs.result.metrics["controls"]
    assert reported[CEILING]["n"]["rouge1"] == USERS - len(failed)
    assert runs.result.metrics["author_identification"]["n"]["author_words"] <= USERS - len(failed)


def means(judgements, text, ok):
    """What a judge said of a text of each ok user: the mean of the answers that were read, over 10."""
    answers = {}
    for row in judgements.to_pylist():
        if row["text"] == text and row["score"] is not None and row["user_id"] in ok:
            answers.setdefault(row["user_id"], []).append(row["score"] / 10)
    return {user: fmean(scores) for user, scores in answers.items()}


def test_judges_stand_between_floor_and_ceiling_over_the_ok_users_who_have_both(runs):
    ok = set(runs.predictions.filter(pc.equal(runs.predictions["status"], "ok"))["user_id"].to_pylist())
    predicted = means(runs.judgements, "prediction", ok)
    for text in OF_DATA:
        control, found = means(runs.control_judgements, text, ok), runs.result.metrics["controls"][text]
        both = control.keys() & predicted.keys()
        assert found["n"]["judge"] == len(both) > 0
        assert found["metrics"]["judge"] == pytest.approx(fmean(control[user] for user in both))
        assert found["prediction"]["judge"] == pytest.approx(fmean(predicted[user] for user in both))
    assert "judge" not in runs.result.metrics["controls"]["swapped_prediction"]["n"]
    line = next(line for line in score_lines(runs.result.metrics) if line.metric == "judge")
    controls = runs.result.metrics["controls"]
    assert (line.floor, line.ceiling) == tuple(controls[name]["metrics"]["judge"] for name in (FLOOR, CEILING))
    assert line.value == runs.result.metrics["judges"]["judge"]["value"]
    correlations = runs.result.metrics["rank_correlations"]
    assert correlations["judge"]["rouge1"] == correlations["rouge1"]["judge"] is not None
    assert runs.result.metrics["coverage"]["judge_answers_unreadable"]["control_judgements"] > 0


def test_controls_added_to_a_finished_run_ask_nothing_of_the_predictions_again(runs):
    asked = pc.sum(pc.is_valid(runs.control_judgements["finish_reason"])).as_py()
    lacking = sum(runs.controls[name].null_count for name in (FLOOR, "own_review"))
    assert asked == SAMPLES * (len(OF_DATA) * USERS - lacking)
    assert runs.calls - runs.before.calls == {"judge": asked}
    assert files_of(runs.plain) == runs.before.files
    assert set(runs.job.plan.stages) - set(runs.plain.plan.stages) == {
        "controls", "control_scores", "prediction_controls", "control_judgements"
    }  # fmt: skip


def test_the_reference_is_at_the_ceiling_of_every_metric_that_compares(runs):
    reported = runs.result.metrics["controls"]
    assert set(reported) == set(CONTROLS)
    for name, ceiling in (("rouge1", 1), ("rougeL", 1), ("bleu", 100), ("length_ratio", 1)):
        assert reported[CEILING]["metrics"][name] == pytest.approx(ceiling)
    for name in ("rouge1", "rougeL", "bleu", "meteor", "author_characters", "author_words"):
        assert reported[FLOOR]["metrics"][name] < reported[CEILING]["metrics"][name]


def test_the_prediction_beside_a_control_is_over_the_users_who_have_it(runs):
    swapped = runs.result.metrics["controls"]["swapped_prediction"]
    scored = runs.scores.filter(pc.is_valid(runs.prediction_controls["swapped_prediction:rouge1"]))
    assert swapped["n"]["rouge1"] == scored.num_rows < USERS
    assert swapped["prediction"]["rouge1"] == pytest.approx(pc.mean(scored["rouge1"]).as_py())


def test_author_columns_stand_among_the_users_scores_and_in_the_correlations(runs):
    table = read_user_scores(runs.job.plan).table
    assert table["author_words"].to_pylist() == runs.prediction_controls["prediction:author_words"].to_pylist()
    correlations = runs.result.metrics["rank_correlations"]
    assert correlations["rouge1"]["rouge1"] == pytest.approx(1)
    assert correlations["author_words"]["rouge1"] == correlations["rouge1"]["author_words"]


def test_a_run_without_its_controls_goes_on_in_the_same_folders(runs):
    assert run(runs.plain, lambda line: None) is not None, "the run's name is not refused"
    stages = runs.job.plan.stages
    assert {name: info.fingerprint for name, info in runs.plain.plan.stages.items()} == {
        name: stages[name].fingerprint for name in runs.plain.plan.stages
    }
