"""What finished runs say of their users: each is counted, and their names and the layout of parts change nothing."""

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from drp_ray import schema
from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.evaluation.analyses.intervals import Draws
from drp_ray.evaluation.analyses.taxonomy import LABELS
from drp_ray.evaluation.user_scores import UserScores
from drp_ray.job.analyse import analyse, as_json, uniqueness
from drp_ray.job.analysis_tables import missing_lines, tables_of
from drp_ray.job.finished import RunGroup, open_groups
from drp_ray.job.user_values import differing_signatures, group_scores, user_embeddings
from drp_ray.storage.folder import LocalFolder
from tests.job.made_runs import finish, jobs_of, predictions, write_job

DRAWS = Draws(100)
N = 24
USERS = [f"u{n:02}" for n in range(N)]
WORDS = ["the", "car", "runs", "well.", "a", "b"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("analyse") / "data"
    write_sample(LocalFolder(folder), 4, seed=0)
    return folder


def review(number, rating=4.0):
    return {"item_id": f"i{number}", "rating": rating, "title": None, "text": f"text {number}", "timestamp": number}


def users_rows(names):
    rows = [
        {"user_id": name, "profile": [review(k) for k in range(place % 7)], "target": review(99, float(place % 5 + 1))}
        for place, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows, schema.USERS)


def texts_of(names, seed, failed=()):
    generator = random.Random(seed)
    texts = [" ".join(generator.choices(WORDS, k=4 + place % 9)) for place in range(len(names))]
    return {
        name: None if place in failed else text for place, (name, text) in enumerate(zip(names, texts, strict=True))
    }


def items_rows(names):
    """Each user wrote two reviews, the first one three; a text is shared by all, and another reviewer wrote one too."""
    reviews = [(name, f"t{place}") for place, name in enumerate(names)] + [(name, "shared") for name in names]
    reviews += [("nobody", "stray"), (names[0], "shared")]
    entries = [{"user_id": name, "rating": 1.0, "text": "", "timestamp": 0, "text_id": text} for name, text in reviews]
    return pa.Table.from_pylist([{"item_id": "i", "reviews": entries}], schema.ITEMS)


def embeddings_rows(n):
    generator = np.random.default_rng(4)
    rows = [{"text_id": f"t{place}", "vector": generator.normal(size=3)} for place in range(n)]
    far = [{"text_id": "shared", "vector": [1.0, 1, 1]}, {"text_id": "stray", "vector": [1e6] * 3}]
    return pa.Table.from_pylist([*rows, *far], schema.EMBEDDINGS)


def keys_rows(names):
    labels = sorted(LABELS)
    rows = [
        {
            "user_id": name,
            "item_id": "i",
            "rank": 0,
            "status": "ok",
            "failed": place == 5,
            "keys": [] if place == 5 else [
                {"index": n, "name": "x", "readable": True, "key": LABELS[labels[n]].key,
                 "direction": LABELS[labels[n]].direction}
                for n in range(place % 8)
            ],
        }
        for place, name in enumerate(names)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema.FEATURE_KEYS)


def cut(rows, parts, order=None):
    rows = rows.take(order) if order is not None else rows
    size = -(-len(rows) // parts)
    return [rows.slice(start, size) for start in range(0, len(rows), size)]


def made(
    folder,
    data,
    names=USERS,
    parts=1,
    order=None,
    method="drp",
    name="one",
    seed=1,
    failed=(3,),
    failed_later=(),
    **settings,
):
    """A finished run of these users with everything that can be analysed."""
    folder.mkdir(exist_ok=True)
    evaluation = {"feature_keys": method == "drp"}
    path = write_job(folder, data, name=name, method=method, evaluation=evaluation, **settings)
    for number, job in enumerate(jobs_of(path)):
        stages = {"users": cut(users_rows(names), parts, order)}
        if method == "drp":
            stages |= {
                "items": [items_rows(names)],
                "embeddings": cut(embeddings_rows(len(names)), parts, None),
                "feature_keys": cut(keys_rows(names), parts, order),
            }
        texts = texts_of(names, seed + number, failed + failed_later * (number > 0))
        finish(job, cut(predictions(texts), parts, order), **stages)
    return str(path)


def result(*paths, **options):
    return analyse(open_groups(paths), draws=DRAWS, **options)


def test_parts_rows_and_order_change_no_byte(tmp_path, data):
    orders = [None, list(reversed(range(N))), random.Random(1).sample(range(N), N)]
    texts = {
        as_json(result(made(tmp_path / str(number), data, parts=parts, order=order)))
        for number, (parts, order) in enumerate(zip([1, 3, 5], orders, strict=True))
    }
    assert len(texts) == 1


def without_names(found):
    """The result without what names users."""
    found = json.loads(as_json(found))
    uniqueness = found["uniqueness"]
    uniqueness["distances"] = sorted(uniqueness["distances"].values())
    uniqueness["more_unique"] = len(uniqueness["more_unique"])
    for features in found["unique_features"].values():
        features["per_user"] = sorted(features["per_user"].values())
    return found


def test_calling_the_users_otherwise_changes_no_number(tmp_path, data):
    called = [f"x{(7 * n + 5) % N:02}" for n in range(N)]
    one = result(made(tmp_path / "a", data), made(tmp_path / "a", data, name="two", seed=9, retrieval={"n": 4}))
    other = result(
        made(tmp_path / "b", data, called), made(tmp_path / "b", data, called, name="two", seed=9, retrieval={"n": 4})
    )
    assert without_names(one) == without_names(other)


def test_every_user_is_in_one_bin_and_one_half_and_a_failed_one_in_no_mean(tmp_path, data):
    found = result(made(tmp_path / "a", data))
    assert found["users"] == {"one": {"predicted": N, "failed": 1}}
    for covariate in found["bins"]["one"].values():
        assert sum(each["users"] for each in covariate["bins"]) + covariate["users_without"] == N
        assert sum(each["measures"]["rouge1"]["n"] for each in covariate["bins"]) == N - 1
    assert set(found["bins"]["one"]) == {"profile_length", "rating", "reference_length", "prediction_length"}
    assert found["bins"]["one"]["prediction_length"]["users_without"] == 1
    uniqueness = found["uniqueness"]
    halves = uniqueness["runs"]["one"]["rouge1"]
    assert sum(half["n"] for half in halves.values()) == N - 1
    assert len(uniqueness["distances"]) == N and len(uniqueness["more_unique"]) == N // 2
    features = found["unique_features"]["one"]
    assert (features["users"], features["users_without"], features["failed_comparisons"]) == (N - 1, 1, 1)
    assert features["correlation"]["rouge1"]["n"] == N - 2  # one failed to be predicted, one's comparison failed


def test_means_over_bins_are_the_means_of_the_run(tmp_path, data):
    path = made(tmp_path / "a", data)
    [group] = open_groups([path])
    table = group.executions[0].scores.table
    ok = table.filter(pa.compute.equal(table["status"], "ok"))
    bins = result(path)["bins"]["one"]["rating"]["bins"]
    total = sum(each["measures"]["rouge1"]["mean"] * each["measures"]["rouge1"]["n"] for each in bins)
    assert total / (N - 1) == pytest.approx(np.mean(ok["rouge1"].to_pylist()))


def test_a_users_embedding_is_the_mean_over_the_reviews_and_others_are_no_users(tmp_path, data):
    [group] = open_groups([made(tmp_path / "a", data, parts=3)])
    found = user_embeddings(group)
    assert found.users == tuple(USERS) and found.reviews.tolist() == [3, *[2] * (N - 1)]
    rows = {row["text_id"]: np.array(row["vector"]) for row in embeddings_rows(N).to_pylist()}
    assert found.means[0] == pytest.approx((rows["t0"] + 2 * rows["shared"]) / 3)
    assert found.means[7] == pytest.approx((rows["t7"] + rows["shared"]) / 2)


def test_the_gain_of_the_first_run_over_each_other_is_shown_by_half(tmp_path, data):
    one, other = made(tmp_path / "a", data), made(tmp_path / "a", data, name="rag", method="rag", seed=5, failed=(4,))
    found = result(one, other)["uniqueness"]
    [pair] = found["pairs"]
    assert (pair["a"], pair["b"], pair["not_comparable"]) == ("one", "rag", [])
    gains = pair["measures"]["rouge1"]
    assert gains["missing"] == 2
    scores = [group_scores(group) for group in open_groups([one, other])]
    unique = [USERS.index(user) for user in found["more_unique"] if user not in ("u03", "u04")]
    expected = (scores[0].values["rouge1"] - scores[1].values["rouge1"])[unique]
    assert gains["more_unique"]["gain"] == pytest.approx(expected.mean())
    low, high = gains["more_unique"]["ci95"]
    assert low <= gains["more_unique"]["gain"] <= high
    # Turned round, every gain is the contrary: the embeddings are those of the run that has some.
    turned = result(other, one)["uniqueness"]
    assert turned["embeddings_of"] == "one"
    assert turned["pairs"][0]["measures"]["rouge1"]["more_unique"]["gain"] == pytest.approx(-expected.mean())


def test_nothing_is_gained_over_a_run_that_was_to_write_other_texts(tmp_path, data):
    groups = open_groups([made(tmp_path / "a", data), made(tmp_path / "a", data, name="rag", method="rag", seed=5)])
    one, other = map(group_scores, groups)
    [pair] = uniqueness(groups, [one, other], DRAWS)["pairs"]
    assert pair["note"] is None and "rouge1" in pair["measures"]
    moved = replace(other, targets={**other.targets, "u07": b"another text"})
    found = uniqueness(groups, [one, moved], DRAWS)
    [refused] = found["pairs"]
    assert refused["measures"] == {} and "other texts for 1 of 24 users, 'u07' for one" in refused["note"]
    whole = {**analyse(groups, draws=DRAWS), "uniqueness": found}
    assert f"uniqueness: {refused['note']}" in missing_lines(whole)
    assert not any("gain of" in str(table.title) for table in tables_of(whole))


def test_executions_are_averaged_within_the_user_and_one_that_failed_once_has_no_value(tmp_path, data):
    path = made(tmp_path / "a", data, protocol="drp", method="rag", failed_later=(8,))
    [group] = open_groups([path])
    assert [run.name for run in group.executions] == ["one-temperature0", "one-temperature0.8"]
    found = group_scores(group)
    each = [run.scores.table["rouge1"].to_pylist() for run in group.executions]
    assert found.values["rouge1"][0] == pytest.approx((each[0][0] + each[1][0]) / 2)
    assert found.failed == {"u03", "u08"}
    assert np.flatnonzero(np.isnan(found.values["rouge1"])).tolist() == [3, 8]


def test_curves_are_over_runs_that_differ_in_nothing_else_and_over_common_users(tmp_path, data):
    paths = [
        made(tmp_path / "a", data, name=f"n{n}k{k}", seed=10 * n + k, failed=(n,), method="rag",
             retrieval={"n": n}, selection={"k": k})
        for n, k in ((8, 4), (2, 4), (2, 1))
    ]  # fmt: skip
    curves = result(*paths)["curves"]
    assert [(curve["setting"], [point["value"] for point in curve["points"]]) for curve in curves] == [
        ("N", [2, 8]),
        ("K", [1, 4]),
    ]
    by_n = curves[0]
    assert by_n["runs"] == ["n2k4", "n8k4"] and by_n["users"] == N - 2
    for curve in curves:
        for point in curve["points"]:
            estimate = point["measures"]["rouge1"]
            assert estimate["n"] == curve["users"]
            assert estimate["ci95"][0] <= estimate["mean"] <= estimate["ci95"][1]


@pytest.mark.parametrize(
    ("settings", "is_curve"),
    [
        ({"sampling": {"temperature": [0.8, 0.0], "seed": 1}}, True),
        ({"sampling": {"temperature": [0.0, 1.0], "seed": 1}}, False),
        ({"sampling": {"temperature": 0.0, "seed": 1}}, False),
        ({"sampling": {"temperature": [0.0, 0.8], "seed": 2}}, False),
        ({"sampling": {"temperature": [0.0, 0.8], "seed": 1}, "protocol": "drp"}, False),
    ],
)
def test_points_of_a_curve_have_the_same_executions_and_protocol(tmp_path, data, settings, is_curve):
    one = {"sampling": {"temperature": [0.0, 0.8], "seed": 1}, "retrieval": {"n": 4}}
    paths = [
        made(tmp_path / "a", data, name=f"n{each['retrieval']['n']}", method="rag", **each)
        for each in (one, {**settings, "retrieval": {"n": 8}})
    ]
    curves = result(*paths, mixed_protocols=True)["curves"]
    assert [curve["runs"] for curve in curves] == ([["n4", "n8"]] if is_curve else [])


def test_what_a_run_lacks_is_said_and_nothing_is_made_up(tmp_path, data):
    found = result(made(tmp_path / "a", data, method="rag"))
    assert "add a run of dpl, drp or persona-db" in found["uniqueness"]["missing"]
    assert "evaluation.feature_keys" in found["unique_features"]["one"]["missing"]
    assert found["curves"] == []
    assert found["bins"]["one"]["rating"]["bins"][0]["measures"]["meteor"]["mean"] is None


def test_results_of_different_protocols_are_refused_or_marked(tmp_path, data):
    one = made(tmp_path / "a", data, protocol="full", method="rag")
    other = made(tmp_path / "a", data, name="two", method="rag", retrieval={"n": 4})
    with pytest.raises(BadInput, match="different protocols"):
        result(one, other)
    found = result(one, other, mixed_protocols=True)
    assert (found["mixed_protocols"], found["protocols"]) == (True, {"one": "full", "two": None})
    done = CliRunner().invoke(app, ["analyse", one, other, "--mixed-protocols"])
    assert done.exit_code == 0 and "one (full) by rating" in done.stdout and "two (no protocol)" in done.stdout
    refused = CliRunner().invoke(app, ["analyse", one, other])
    assert refused.exit_code == 2 and "--mixed-protocols" in refused.stderr


def test_one_execution_of_a_protocol_is_not_its_mean(tmp_path, data):
    path = made(tmp_path / "a", data, protocol="drp", method="rag")
    folder = jobs_of(Path(path))[0].run_folder.uri
    protocols = result(folder)["protocols"]
    assert protocols == {"one-temperature0": "drp, 1 of 2 executions"}
    with pytest.raises(BadInput, match="different protocols"):
        result(path, folder)


def test_the_command_prints_tables_and_writes_all_numbers(tmp_path, data):
    path, place = made(tmp_path / "a", data), tmp_path / "found.json"
    done = CliRunner().invoke(app, ["analyse", path, "--json", str(place)])
    assert done.exit_code == 0, done.stderr
    assert "one by profile_length" in done.stdout and "one: unique valid features" in done.stdout
    found = json.loads(place.read_text())
    assert found["interval"] == {"method": "percentile bootstrap over users", "level": 0.95, "number": 2000, "seed": 42}
    nowhere = CliRunner().invoke(app, ["analyse", path, "--json", str(tmp_path / "no" / "found.json")])
    assert nowhere.exit_code == 2 and "cannot be written" in nowhere.stderr


def judged_run(signature, *others):
    """What is read of an execution that has a judge and other measures, with a value of 1 for its user."""
    columns = {name: [1.0] for name in ("judge", *others)}
    table = pa.table({"user_id": ["u"], "method": ["rag"], "status": ["ok"], "reference": [""], **columns})
    return SimpleNamespace(scores=UserScores(table), signatures={"judge": signature, "rouge1": "one"}, items={"u": "i"})


def test_judges_of_one_name_and_other_settings_are_not_compared():
    one, other = (RunGroup("run", (judged_run(signature),)) for signature in ("one", "other"))
    assert differing_signatures(one, other) == ["judge"]
    assert differing_signatures(one, one) == []


def test_a_measure_that_executions_lack_or_compute_differently_has_no_value():
    alike = RunGroup("run", (judged_run("one", "rouge1"), judged_run("one")))
    assert set(group_scores(alike).values) == {"judge"}
    unlike = RunGroup("run", (judged_run("one", "rouge1"), judged_run("other", "rouge1")))
    assert set(group_scores(unlike).values) == {"rouge1"}
