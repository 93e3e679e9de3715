"""`drp-ray compare`: runs from folders and job files, on the users whom all of them have, in a documented form."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.evaluation.authorship import Characters
from drp_ray.evaluation.metrics.base import score_rows
from drp_ray.evaluation.statistics import Resampling
from drp_ray.evaluation.statistics.paired import FEWEST_UNITS
from drp_ray.job.compare import ReadRun, as_json, compare, read_runs
from drp_ray.job.compare_tables import lines_of, tables_of
from drp_ray.job.compared_runs import Scored
from drp_ray.job.finished import open_groups, open_run
from drp_ray.job.run_record import write_run as record_run
from drp_ray.job.sweep import open_sweep
from drp_ray.storage.folder import LocalFolder, open_folder
from drp_ray.storage.parts import read_manifest, write_manifest
from tests.job.finished_runs import METRICS, Row, write_run, write_stages
from tests.viewer.made_run import MadeRun

USERS = [f"u{number:02d}" for number in range(20)]
WORDS = ["the", "car", "runs", "well", "today", "and", "fast", "."]


def texts(seed):
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=9)) for _ in USERS]


REFERENCES = texts("references")


def rows(seed, failed=(), users=USERS):
    """A run's rows; the users `failed` have no prediction. Three users share each item."""
    written = zip(USERS, texts(seed), REFERENCES, strict=True)
    return [
        Row(user, None if user in failed else text, reference, f"item {number // 3}")
        for number, (user, text, reference) in enumerate(written)
        if user in users
    ]


def compared(*names, draws=200):
    return compare(read_runs(open_groups([str(name) for name in names])), Resampling(draws))


@pytest.fixture
def runs(tmp_path):
    """Two runs: `b` failed for two users, `a` for one."""
    return [write_run(tmp_path, "a", rows(1, failed=["u03"])), write_run(tmp_path, "b", rows(2, ["u05", "u06"]))]


def test_the_document_has_the_fields_that_are_promised(runs):
    document = compared(*runs)
    assert document["runs"] == ["a", "b"]
    assert document["users"] == {
        "n": 17, "n_items": 7, "excluded": {"a": 3, "b": 3}, "failed": {"a": 1, "b": 2}, "lost": {"a": 2, "b": 1},
    }  # fmt: skip
    assert (document["draws"], document["seed"], document["family"]) == (200, 0, "the pairs of one measure")
    assert list(document["metrics"])[:4] == ["rouge1", "rougeL", "bleu", "meteor"]
    (pair,) = document["metrics"]["rouge1"]["pairs"]
    promised = {"a", "b", "difference", "ci95", "p_permutation", "p_t", "p_holm", "smallest_effect"}
    assert promised <= pair.keys() and (pair["a"], pair["b"], pair["n"]) == ("a", "b", 17)
    assert pair["ci95"][0] < pair["difference"] < pair["ci95"][1]


def test_numbers_are_those_of_the_common_users_and_a_minus_b(runs):
    metrics = compared(*runs)["metrics"]
    common = [user for user in USERS if user not in ("u03", "u05", "u06")]
    expected = {}
    for name, seed in (("a", 1), ("b", 2)):
        used = rows(seed, users=common)
        bleu = sacrebleu.corpus_bleu([row.prediction for row in used], [[row.reference for row in used]]).score
        assert metrics["bleu"]["runs"][name]["mean"] == pytest.approx(bleu)
        expected[name] = bleu
    assert metrics["bleu"]["pairs"][0]["difference"] == pytest.approx(expected["a"] - expected["b"])
    means = metrics["rouge1"]["runs"]
    assert metrics["rouge1"]["pairs"][0]["difference"] == pytest.approx(means["a"]["mean"] - means["b"]["mean"])


def test_failures_as_empty_texts_stand_beside_and_never_help(runs, tmp_path):
    whole = compared(write_run(tmp_path / "whole", "a", rows(1)), runs[1])["metrics"]["rouge1"]["runs"]["a"]
    failed = compared(*runs)["metrics"]["rouge1"]["runs"]["a"]
    assert failed["with_failures_as_empty"] < whole["with_failures_as_empty"]


def test_a_metric_that_all_runs_lack_has_no_number_and_says_so(runs):
    meteor = compared(*runs)["metrics"]["meteor"]
    assert [run["mean"] for run in meteor["runs"].values()] == [None, None]
    (pair,) = meteor["pairs"]
    assert (pair["difference"], pair["ci95"], pair["p_holm"]) == (None, None, None)
    assert pair["notes"]["difference"] == "a: no user has a value of METEOR"


def test_order_of_users_and_parts_and_the_place_of_the_files_change_no_byte(runs, tmp_path):
    expected = as_json(compared(*runs))
    assert as_json(compared(*runs)) == expected
    for number, parts in enumerate((3, 7)):
        mixed = [rows(1, failed=["u03"]), rows(2, ["u05", "u06"])]
        for each in mixed:
            random.Random(number).shuffle(each)
        root = tmp_path / str(number)
        others = [write_run(root, name, each, parts) for name, each in zip("ab", mixed, strict=True)]
        assert as_json(compared(*others)) == expected


def test_the_document_is_json_without_nan_and_the_same_from_the_command_line(runs, tmp_path):
    out = tmp_path / "out.json"
    done = CliRunner().invoke(app, ["compare", *runs, "--json", str(out), "--draws", "200"])
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == as_json(compared(*runs))

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(out.read_text(), parse_constant=refuse)
    assert "ROUGE-1, 17 users" in done.output and "BLEU" in done.output
    assert "a: 3 users are not compared, 1 failed here and 2 elsewhere" in done.output
    assert "METEOR is missing: a: no user has a value of METEOR" in done.output


def test_tables_of_eight_runs_stay_whole(tmp_path):
    names = [f"books-{method}-temperature" for method in ("drp", "dpl", "rag", "intsum", "cicl", "trsr", "non", "db")]
    uris = [write_run(tmp_path, name, rows(name)) for name in names]
    document = compared(*uris)
    assert len(document["metrics"]["rouge1"]["pairs"]) == 7
    for table in tables_of(document):
        assert table.row_count == 8 and len(table.columns) == 9
    assert not any("not compared" in line for line in lines_of(document))


def test_runs_of_one_name_are_told_apart(tmp_path, runs):
    again = write_run(tmp_path / "other", "a", rows(3))
    named_so = write_run(tmp_path / "third", "a-2", rows(4))
    assert compared(runs[0], again, named_so, runs[0])["runs"] == ["a", "a-2", "a-2-2", "a-3"]


def test_a_run_equals_itself(runs):
    pair = compared(runs[0], runs[0])["metrics"]["bleu"]["pairs"][0]
    assert (pair["difference"], pair["ci95"], pair["p_permutation"]) == (0.0, [0.0, 0.0], 1.0)


def test_runs_on_other_users_or_targets_are_not_compared(tmp_path, runs):
    others = [row._replace(user=f"v{row.user}") for row in rows(3)]
    with pytest.raises(BadInput, match=r"no user is in all runs.*a: 20 users, 1 of them failed"):
        compared(runs[0], write_run(tmp_path / "others", "c", others))
    with pytest.raises(BadInput, match=r"no user is ok in all runs.*--retry-errors"):
        compared(runs[0], write_run(tmp_path / "failed", "c", rows(3, failed=USERS)))
    for change in ({"item": "another"}, {"reference": "another"}):
        changed = [row._replace(**change) if row.user == "u07" else row for row in rows(3)]
        with pytest.raises(BadInput, match=r"a and c were to write other texts for 1 of 19 users, 'u07' for one"):
            compared(runs[0], write_run(tmp_path / "targets", "c", changed))


def test_a_sample_of_the_users_is_compared_on_the_sample(tmp_path, runs):
    document = compared(runs[0], write_run(tmp_path, "c", rows(3, users=USERS[:8])))
    assert document["users"]["n"] == 7 and document["users"]["excluded"] == {"a": 13, "c": 1}


def test_numbers_of_other_signatures_are_refused_metric_by_metric(tmp_path, runs):
    other = write_run(tmp_path, "c", rows(3), signed={"rouge1": "rouge of tomorrow"})
    metrics = compared(runs[0], runs[1], other)["metrics"]
    assert "ROUGE-1 was computed in several ways" in metrics["rouge1"]["note"]
    assert "c: rouge of tomorrow" in metrics["rouge1"]["note"]
    assert {run["mean"] for run in metrics["rouge1"]["runs"].values()} == {None}
    assert {pair["p_permutation"] for pair in metrics["rouge1"]["pairs"]} == {None}
    assert metrics["rougeL"]["note"] is None and metrics["rougeL"]["pairs"][1]["p_holm"] is not None


def run_with_authors(root, name, signatures):
    """A run with controls whose author identification was computed as `signatures` say."""
    made = MadeRun(LocalFolder(root), name=name, n_users=8, rows_per_part=100, has_controls=True)
    folder = made.write()
    stage = open_run(folder).stages["prediction_controls"]
    settings = {"settings": {"authors": signatures}}
    write_manifest(stage, read_manifest(stage).model_copy(update={"made_from": settings}))
    return folder.uri


def test_author_identification_is_compared_by_what_each_run_recorded(tmp_path, monkeypatch):
    ways = [("a", ["characters 1", "words 1"]), ("b", ["characters 1", "words 2"])]
    monkeypatch.setattr(Characters, "signature", "characters of tomorrow")
    metrics = compared(*(run_with_authors(tmp_path, *way) for way in ways))["metrics"]
    assert metrics["author_characters"]["note"] is None
    assert metrics["author_characters"]["runs"]["a"]["signature"] == "characters 1"
    assert "(a: words 1; b: words 2)" in metrics["author_words"]["note"]


def test_a_signature_may_hold_any_text(tmp_path):
    signed = {"rouge1": "of /data/this and that"}
    runs = [write_run(tmp_path, name, rows(seed), signed=signed) for seed, name in enumerate("ab")]
    assert compared(*runs)["metrics"]["rouge1"]["note"] is None


def test_a_protocol_that_folders_are_not_of_is_refused(runs):
    for protocol, error in (
        ("drpp", "there is no protocol 'drpp'"),
        ("drp", "not of the protocol drp: a (no protocol)"),
    ):
        done = CliRunner().invoke(app, ["compare", *runs, "--protocol", protocol])
        assert done.exit_code == 2 and error in done.output


def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(tmp_path, runs):
    folder = LocalFolder(tmp_path / "scores" / "of-b")
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"totals": None}))
    with pytest.raises(BadInput, match=r"b: scores is not complete; finish it with drp-ray run"):
        compared(*runs)
    write_manifest(folder, manifest.model_copy(update={"inputs": {"predictions": "changed since"}}))
    with pytest.raises(BadInput, match=r"b: its scores are older than what they are made from"):
        compared(*runs)


def test_what_is_no_run_is_refused(tmp_path, runs):
    with pytest.raises(BadInput, match=r"no run\.json, so no run was made here; give a job file"):
        compared(runs[0], tmp_path / "nothing")
    with pytest.raises(BadInput, match=r"is one run; name at least two"):
        compared(runs[0])


def test_results_that_were_moved_are_compared_where_they_are(tmp_path, runs):
    expected = as_json(compared(*runs))
    shutil.move(tmp_path, tmp_path.with_name("moved"))
    moved = [run.replace(str(tmp_path), str(tmp_path.with_name("moved"))) for run in runs]
    assert as_json(compared(*moved)) == expected


def test_runs_in_a_bucket_are_compared_as_those_on_a_disk(tmp_path, runs, s3_server, monkeypatch):
    import boto3

    options = s3_server.options
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options.secret_key)
    monkeypatch.setenv("AWS_REGION", options.region or "us-east-1")
    client = boto3.client(
        "s3", endpoint_url=s3_server.endpoint_url, region_name="us-east-1",
        aws_access_key_id=options.access_key, aws_secret_access_key=options.secret_key,
    )  # fmt: skip
    client.create_bucket(Bucket="compared")
    root = open_folder("s3://compared/results", options)
    uris = [write_run(root, "a", rows(1, failed=["u03"])), write_run(root, "b", rows(2, ["u05", "u06"]), parts=3)]
    assert uris[0] == "s3://compared/results/runs/a"
    assert as_json(compared(*uris)) == as_json(compared(*runs))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compare") / "data"
    write_sample(LocalFolder(folder), 4, seed=0)
    return folder


@pytest.fixture
def job(tmp_path, data):
    """A job file with settings, all of whose runs are finished; their predictions differ by their names."""

    def job(name="s", users_of=lambda choices: USERS, **settings):
        path = tmp_path / f"{name}.yaml"
        common = {"name": name, "dataset": str(data), "root": str(tmp_path / "out"), "method": "rag"}
        path.write_text(yaml.safe_dump({**common, "models": {"llm": {"id": "/some/model"}}, **settings}))
        for run in open_sweep(path).runs:
            folders = {stage: info.folder for stage, info in run.job.plan.stages.items()}
            choices = {".".join(choice.place): choice.value for choice in run.choices}
            write_stages(folders, rows(run.job.config.name, users=users_of(choices)))
            record_run(run.job.run_folder, run.job.config, run.job.plan)
        return path

    return job


def test_temperatures_and_seeds_of_a_job_file_are_one_run(job):
    document = compared(job(method=["dpl", "rag"], sampling={"temperature": [0, 0.8], "seed": [1, 2]}))
    assert document["runs"] == ["s-dpl", "s-rag"]
    assert document["details"]["s-dpl"] == {
        "method": "dpl",
        "protocol": None,
        "executions": [f"s-dpl-seed{seed}-temperature{heat}" for seed in (1, 2) for heat in (0, 0.8)],
    }
    rouge = document["metrics"]["rouge1"]["runs"]["s-dpl"]
    assert len(rouge["executions"]) == 4
    assert rouge["mean"] == pytest.approx(sum(rouge["executions"]) / 4)
    assert rouge["sd_over_executions"] == pytest.approx(stats.tstd(rouge["executions"]))


def test_a_job_file_and_a_run_folder_are_compared(job, runs):
    document = compared(job(name="plain"), runs[0])
    assert document["runs"] == ["plain", "a"]
    assert document["metrics"]["rouge1"]["runs"]["plain"]["sd_over_executions"] is None


def test_samples_of_users_are_executions_on_their_own_users(job):
    samples = {0: USERS[:12], 1: USERS[8:]}
    path = job(method=["dpl", "rag"], users={"sample": 2, "seed": [0, 1]}, users_of=lambda c: samples[c["users.seed"]])
    document = compared(path)
    assert (document["runs"], document["users"]["n"]) == (["s-dpl", "s-rag"], 20)
    bleu = document["metrics"]["bleu"]
    for number, users in samples.items():
        used = rows(f"s-dpl-seed{number}", users=users)
        expected = sacrebleu.corpus_bleu([row.prediction for row in used], [[row.reference for row in used]]).score
        assert bleu["runs"]["s-dpl"]["executions"][number] == pytest.approx(expected)
    assert bleu["pairs"][0]["p_permutation"] is not None and bleu["pairs"][0]["ci95"] is not None


def test_a_sample_stands_beside_the_same_users_of_a_run_over_everybody(job):
    samples = {0: USERS[:12], 1: USERS[8:]}
    sampled = job("sampled", lambda c: samples[c["users.seed"]], users={"sample": 2, "seed": [0, 1]})
    whole = job("whole", sampling={"seed": 42})
    document = compared(sampled, whole)
    assert document["users"] == {
        "n": 20, "n_items": 7, "excluded": {"sampled": 0, "whole": 0}, "failed": {"sampled": 0, "whole": 0},
        "lost": {"sampled": 0, "whole": 0},
    }  # fmt: skip
    rouge = document["metrics"]["rouge1"]
    assert [len(rouge["runs"][name]["executions"]) for name in ("sampled", "whole")] == [2, 1]
    assert rouge["pairs"][0]["difference"] == pytest.approx(
        rouge["runs"]["sampled"]["mean"] - rouge["runs"]["whole"]["mean"]
    )


def test_executions_side_by_side_without_a_user_in_common_are_refused(job):
    samples = {0: USERS[:10], 1: USERS[10:]}
    runs = [
        job(name, lambda c: samples[c["users.seed"]], users={"sample": 2, "seed": seeds})
        for name, seeds in (("a", [0, 1]), ("b", [1, 0]))
    ]
    with pytest.raises(BadInput, match=r"a-seed0 and b-seed1 stand side by side.*same users.sample and users.seed"):
        compared(*runs)


MEASURES = [metric for metric in METRICS if metric.name in ("rouge1", "bleu")]


def made_run(name, samples, text_of):
    """A run in memory with an execution for each sample of users, who write what `text_of` says."""
    executions = []
    for number, users in enumerate(samples):
        written = score_rows(MEASURES, [text_of(user) for user in users], [REFERENCES[user] for user in users])
        columns = {
            each.name: np.array([[row[field.name] for field in each.columns] for row in written], float)
            for each in MEASURES
        }
        executions.append(
            Scored(
                name=f"{name}-{number}",
                users=np.array([USERS[user] for user in users], object),
                is_ok=np.ones(len(users), bool),
                items=np.array([f"item {user}" for user in users], object),
                targets=np.array([REFERENCES[user] for user in users], object),
                measures=MEASURES,
                columns=columns,
                signatures={},
                with_failures={},
            )
        )
    return ReadRun(name, "rag", None, tuple(executions))


SAMPLES = st.lists(st.sets(st.integers(0, 11), min_size=7).map(sorted), min_size=1, max_size=3)


@given(a=SAMPLES, b=SAMPLES, c=SAMPLES)
@settings(max_examples=40, deadline=None)
def test_equal_texts_of_every_user_do_not_differ_whatever_the_samples(a, b, c):
    text_of = texts("equal").__getitem__
    runs = [made_run(name, samples, text_of) for name, samples in (("a", a), ("b", b), ("c", c))]
    try:
        document = compare(runs, Resampling(50))
    except BadInput as error:
        assume("stand side by side" not in str(error))
        raise
    for name in ("rouge1", "bleu"):
        for pair in document["metrics"][name]["pairs"]:
            assert (pair["difference"], pair["p_permutation"]) == (0.0, 1.0)
            assert pair["ci95"] == (None if pair["n"] < FEWEST_UNITS else [0.0, 0.0])
        assert len({run["mean"] for run in document["metrics"][name]["runs"].values()}) == 1


@given(a=SAMPLES, b=SAMPLES)
@settings(max_examples=40, deadline=None)
def test_whatever_the_samples_the_difference_is_that_of_the_means_and_turns_with_the_runs(a, b):
    runs = [made_run("a", a, texts(1).__getitem__), made_run("b", b, texts(2).__getitem__)]
    try:
        one, other = (compare(each, Resampling(50)) for each in (runs, runs[::-1]))
    except BadInput as error:
        assume("stand side by side" not in str(error))
        raise
    for name in ("rouge1", "bleu"):
        (pair,), (turned,) = one["metrics"][name]["pairs"], other["metrics"][name]["pairs"]
        means = [one["metrics"][name]["runs"][run]["mean"] for run in "ab"]
        assert pair["difference"] == pytest.approx(means[0] - means[1], abs=1e-9)
        assert turned["difference"] == pytest.approx(-pair["difference"], abs=1e-9)
        assert (turned["se"], turned["n"]) == pytest.approx((pair["se"], pair["n"]))
    p_t, turned_p_t = (each["metrics"]["rouge1"]["pairs"][0]["p_t"] for each in (one, other))
    assert turned_p_t == pytest.approx(p_t)


def test_an_unfinished_job_file_is_refused_with_its_command(job, tmp_path):
    path = job(sampling={"temperature": [0, 0.8]}, method=["dpl", "rag"])
    shutil.rmtree(open_sweep(path).runs[1].job.plan.stages["scores"].folder.path)
    with pytest.raises(BadInput, match=r"s-dpl-temperature0.8: scores is not complete.*drp-ray sweep"):
        compared(path)
