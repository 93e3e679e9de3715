"""Lists in a job file become combinations; names tell them apart; means are over temperatures and seeds."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from drp_ray.cli import _print_comparison, app
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.evaluation.user_scores import UserScores
from drp_ray.job.result import Result
from drp_ray.job.sweep import choices_of, means_of, open_sweep, write_comparison
from drp_ray.storage.folder import LocalFolder
from tests.evaluation.test_user_scores import scores_of


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "data"
    write_sample(LocalFolder(folder), 4, seed=0)
    return folder


@pytest.fixture
def sweep(tmp_path, data):
    def sweep(*overrides, **settings):
        job = {"name": "s", "dataset": str(data), "root": str(tmp_path / "out"), "method": "rag"}
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({**job, "models": {"llm": {"id": "some/model"}}, **settings}))
        return open_sweep(path, overrides)

    return sweep


def names(sweep):
    return [run.job.config.name for run in sweep.runs]


def test_a_job_without_lists_is_a_sweep_of_one(sweep):
    assert names(sweep()) == ["s"]


def test_every_combination_is_a_run_with_its_settings(sweep):
    opened = sweep(method=["rag", "dpl"], retrieval={"n": [1, 8]}, selection={"k": 2})
    assert names(opened) == ["s-rag-n1", "s-rag-n8", "s-dpl-n1", "s-dpl-n8"]
    configs = [run.job.config for run in opened.runs]
    assert [(config.method, config.retrieval.n, config.selection.k) for config in configs] == [
        ("rag", 1, 2), ("rag", 8, 2), ("dpl", 1, 2), ("dpl", 8, 2),
    ]  # fmt: skip


def test_models_roles_and_single_roles_sampling_can_be_swept(sweep):
    models = {"a": {"id": ["hub/One", "hub/Two"]}, "b": {"id": "hub/B"}}
    opened = sweep(models=models, roles={"generator": ["a", "b"]}, sampling={"generator": {"max_tokens": [16, 32]}})
    assert len(opened.runs) == 8
    assert names(opened)[0] == "s-One-a-max_tokens16"
    last = opened.runs[-1].job.config
    assert (last.models["a"].id, last.model_of("generator"), last.sampling.of("generator").max_tokens) == (
        "hub/Two", "b", 32,
    )  # fmt: skip


def test_a_list_that_a_job_may_hold_is_one_value_and_a_list_of_them_is_swept(sweep):
    assert names(sweep(method="dpl", differences={"dimensions": ["writing", "emotion"]})) == ["s"]
    opened = sweep(method="dpl", differences={"dimensions": [["writing"], ["emotion", "semantic"], []]})
    assert [run.job.config.differences.dimensions for run in opened.runs] == [
        ("writing",), ("emotion", "semantic"), (),
    ]  # fmt: skip
    assert len(set(names(opened))) == 3


def test_engine_arguments_are_no_axes_but_whole_mappings_are(sweep):
    llm = {"id": "m", "engine_args": {"stop": ["a", "b"]}}
    assert len(sweep(models={"llm": llm}).runs) == 1
    thinking = [{"enable_thinking": True}, {"enable_thinking": False}]
    opened = sweep(models={"llm": {**llm, "chat_template_kwargs": thinking}})
    assert [run.job.config.models["llm"].chat_template_kwargs for run in opened.runs] == thinking
    assert len(set(names(opened))) == 2


def test_overrides_may_be_lists(sweep):
    assert names(sweep("sampling.temperature=[0, 0.8]")) == ["s-temperature0", "s-temperature0.8"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": ["rag", "rga"]}, "there is no method 'rga'.*did you mean rag"),
        ({"method": []}, "method is an empty list"),
        ({"name": None}, "name: a sweep needs one name"),
        ({"name": ["a", "b"]}, "name: a sweep needs one name"),
        ({"runtime": {"rows_per_part": [8, 16]}}, "runtime.rows_per_part: nothing in runtime changes a result"),
        ({"sampling": {"temperature": [0.1, "hot"]}}, r"temperature.*hot"),
        ({"method": ["rag", "rag"]}, "method holds the value 'rag' twice"),
        ({"retrieval": {"m": [1, 2]}}, "unknown setting"),
        ({"sampling": {"temperature": [1, 1.0]}}, "sampling.temperature holds the value 1.0 twice"),
        ({"method": ["rag", "dpl"], "selection": {"k": 0}}, r"selection.k.*\(with method='rag'\)"),
    ],
)
def test_bad_combinations_are_refused_before_anything_starts(sweep, tmp_path, settings, message):
    with pytest.raises(BadInput, match=message):
        sweep(**settings)
    assert not (tmp_path / "out").exists()


def test_what_runs_agree_on_has_one_folder(sweep):
    opened = sweep(method=["dpl", "drp", "persona-db"])
    folders = [{name: info.folder.uri for name, info in run.job.plan.stages.items()} for run in opened.runs]
    for stage in ("users", "retrieved", "items", "embeddings"):
        assert len({each[stage] for each in folders}) == 1
    assert folders[0]["comparisons"] == folders[1]["comparisons"]
    assert len({each["contexts"] for each in folders}) == len({each["predictions"] for each in folders}) == 3


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"sampling": {"seed": [-1, 1]}}, ["s-seed-1", "s-seed1"]),
        ({"models": {"llm": {"id": ["one/M", "two/M"]}}}, ["s-M-1", "s-M-2"]),
        ({"models": {"llm": [{"id": "A"}, {"id": "B"}]}}, ["s-llm-1", "s-llm-2"]),
        ({"models": {"llm": {"id": "A", "chat_template_kwargs": [{"x": 1}, {"x": 2}]}}},
         ["s-chat_template_kwargs-1", "s-chat_template_kwargs-2"]),
        ({"models": {"llm": {"id": "A", "revision": ["é", "ü"]}}}, ["s-revision-1", "s-revision-2"]),
        ({"roles": {"generator": ["a-b", "a"], "summarizer": ["c", "b-c"]},
          "models": {name: {"id": name} for name in ("a-b", "a", "c", "b-c")}},
         ["s-a-b-c-1", "s-a-b-b-c-2", "s-a-c-3", "s-a-b-c-4"]),
    ],
)  # fmt: skip
def test_values_that_would_be_named_alike_are_told_apart(sweep, settings, expected):
    assert names(sweep(**settings)) == expected


def test_datasets_can_be_swept(sweep, data, tmp_path):
    for name in ("books", "yelp"):
        shutil.copytree(data, tmp_path / name / "test")
    opened = sweep(dataset=[str(tmp_path / name / "test") for name in ("books", "yelp")])
    assert [run.job.dataset.name for run in opened.runs] == ["books-test", "yelp-test"]
    assert names(opened) == ["s-books-test", "s-yelp-test"]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.integers() | st.floats(allow_nan=False),
        min_size=1,
        unique=True,
    )
)
def test_labels_can_stand_in_a_run_name_and_differ(values):
    labels = [choice.label for choice in choices_of(("sampling", "key"), values, Path())]
    assert len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", label) for label in labels)


def row(metrics, **choices):
    fixed = {place: value for place, value in choices.items() if place == "method"}
    empty = {name: value and value / 2 for name, value in metrics.items()}
    return {
        "choices": choices,
        "fixed": fixed,
        "metrics": metrics,
        "with_failures_as_empty": empty,
        "n": 3,
        "scored": {},
    }


def test_means_are_over_runs_that_differ_in_temperature_or_seed_only():
    rows = [
        row({"bleu": 1.0, "meteor": 0.1}, method="dpl", **{"sampling.temperature": 0.2}),
        row({"bleu": 2.0, "meteor": None}, method="dpl", **{"sampling.temperature": 0.8}),
        row({"bleu": 5.0, "meteor": 0.3}, method="rag", **{"sampling.temperature": 0.2}),
    ]
    means = [(row["choices"], row["runs"], row["metrics"], row["n"]) for row in means_of(rows)]
    assert means == [
        ({"method": "dpl"}, 2, {"bleu": 1.5, "meteor": None}, [3, 3]),
        ({"method": "rag"}, 1, {"bleu": 5.0, "meteor": 0.3}, [3]),
    ]
    empty = [row["with_failures_as_empty"] for row in means_of(rows)]
    assert empty == [{"bleu": 0.75, "meteor": None}, {"bleu": 2.5, "meteor": 0.15}]
    assert means_of(rows[1:]) == []


def test_a_measure_that_was_computed_in_several_ways_has_no_mean():
    rows = [
        {
            **row({"judge": value, "bleu": value}, **{"sampling.temperature": heat}),
            "signatures": {"judge": f"at {heat}"},
        }
        for value, heat in ((0.2, 0), (0.8, 1))
    ]
    [mean] = means_of(rows)
    assert mean["metrics"] == {"judge": None, "bleu": 0.5}


def test_the_published_row_of_a_mean_stands_below_it_and_under_no_other(capsys):
    published = {"source": "https://arxiv.org/abs/1", "metrics": {"bleu": 5.9379}}
    rows = [
        {**row({"bleu": 1.0, "meteor": 0.1}, method=method, **{"sampling.temperature": temperature}),
         "published": published if method == "dpl" else None,
         "run": f"{method}-{temperature}", "method": method, "by_method": {}, "users": 3, "failed": 0, "lost": 0}
        for method in ("dpl", "rag") for temperature in (0.2, 0.8)
    ]  # fmt: skip
    means = means_of(rows)
    assert [mean["published"] for mean in means] == [published, None]
    comparison = {"sweep": "s", "protocol": "dpl", "runs": rows, "averaged_over": ["sampling.temperature"]}
    _print_comparison({**comparison, "means": means, "folder": "f"})
    lines = capsys.readouterr().out.splitlines()
    assert any("s (protocol dpl)" in line for line in lines)
    [place] = [number for number, line in enumerate(lines) if "arxiv.org/abs/1" in line]
    assert "method=dpl" in lines[place - 1] and "method=rag" in lines[place + 1]
    assert "5.9379" in lines[place] and "missing" not in lines[place]


@pytest.mark.parametrize(
    ("settings", "averaged"),
    [
        ({"sampling": {"temperature": [0, 1]}}, True),
        ({"sampling": {"seed": [0, 1]}}, True),
        ({"users": {"sample": 2, "seed": [0, 1]}}, True),
        ({"sampling": {"generator": {"temperature": [0, 1]}}}, False),
        ({"selection": {"seed": [0, 1]}}, False),
        ({"sampling": {"max_tokens": [8, 16]}}, False),
    ],
)
def test_only_what_draws_again_is_averaged_over_and_no_single_role(sweep, settings, averaged):
    assert [choice.is_averaged for run in sweep(**settings).runs for choice in run.choices] == [averaged] * 2


SENTENCE = "the car runs"
REFERENCES = ["the car runs well."] * 2 + ["nothing here is alike"] * 2


def result_of(method, failed, fallbacks=()):
    """The result of a run that wrote one sentence for everybody but those who failed."""
    rows = [
        (None if number in failed else SENTENCE, true, "intsum" if number in fallbacks else method)
        for number, true in enumerate(REFERENCES)
    ]
    return Result(
        {
            "method": method,
            "failed_users": len(failed),
            "metrics": {"rouge1": 0.5},
            "with_failures_as_empty": {"rouge1": 0.25, "rougeL": 0.25, "bleu": 0.25, "meteor": None},
            "by_method": {
                name: {"n": 2, "metrics": {"rouge1": 0.5}} for name in {method, *(["intsum"] * len(fallbacks))}
            },
            "coverage": {},
            "published": None,
        },
        0.0,
        {},
        (),
        scores_of(rows),
    )


def test_runs_are_compared_on_the_users_who_are_ok_in_all_of_them(sweep):
    """dpl loses a user whom the sentence does not suit, rag one whom it does: neither is ahead by that."""
    compared = write_comparison(sweep(method=["dpl", "rag"]), [result_of("dpl", {3}), result_of("rag", {0})])
    dpl, rag = compared["runs"]
    assert dpl["metrics"] == rag["metrics"]
    assert [(run["n"], run["users"], run["failed"], run["lost"]) for run in compared["runs"]] == [(2, 4, 1, 1)] * 2
    assert dpl["own"] == {"rouge1": 0.5} and dpl["with_failures_as_empty"]["rouge1"] == 0.25


def without_meteor_of(result, lacking):
    """The same result with METEOR 1 for the easy half and 0 for the others, without those who lack it."""
    table = result.users.table
    values = [None if number in lacking else float(number < 2) for number in range(len(table))]
    place = table.column_names.index("meteor")
    return replace(result, users=UserScores(table.set_column(place, "meteor", pa.array(values, pa.float64()))))


def test_a_metric_is_compared_on_the_users_who_have_it_in_all_runs_and_n_says_so(sweep, capsys):
    """A node without WordNet gives dpl no METEOR of the hard users: that puts it ahead of nobody."""
    results = [without_meteor_of(result_of("dpl", set()), {2, 3}), without_meteor_of(result_of("rag", set()), set())]
    compared = write_comparison(sweep(method=["dpl", "rag"]), results)
    assert [run["metrics"]["meteor"] for run in compared["runs"]] == [1.0, 1.0]
    assert [(run["n"], run["scored"]["meteor"], run["scored"]["rouge1"]) for run in compared["runs"]] == [(4, 2, 4)] * 2
    _print_comparison(compared)
    assert "meteor is over 2 users: the others have no value in some run" in capsys.readouterr().out


def test_runs_that_predict_for_other_users_are_not_compared_with_each_other(sweep):
    opened = sweep(users={"sample": 2, "seed": [0, 1]})
    compared = write_comparison(opened, [result_of("rag", {3}), result_of("rag", set())])
    assert [(run["n"], run["lost"]) for run in compared["runs"]] == [(3, 0), (4, 0)]


def test_the_command_line_shows_n_what_was_lost_and_what_means_are_over(sweep, tmp_path, monkeypatch):
    sweep(method="dpl", report=False, sampling={"temperature": [0, 0.8]})
    results = [result_of("dpl", {3}, fallbacks={1}), result_of("dpl", {0, 3})]
    monkeypatch.setattr("drp_ray.job.run.run_all", lambda *_, **__: results)
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "job.yaml")])
    assert done.exit_code == 0, done.output
    words = " ".join(re.sub("[│┃]", " ", done.stdout).split())
    assert "users who are ok in every run that predicts for them" in words
    assert "all users, a failed one scored as an empty text" in words
    assert "mean over" in words and "sampling.temperature" in words.partition("mean over")[2]
    cells = [[cell.strip() for cell in line.split("│")][1:-1] for line in done.stdout.splitlines()]
    assert [row[-3:] for row in cells if len(row) > 3 and row[-2:] in (["1", "1"], ["2", "0"])] == [
        ["2", "1", "1"], ["2", "2", "0"],
    ], done.stdout  # fmt: skip
    assert any(row[:1] == ["intsum"] and row[-1] == "2" for row in cells), done.stdout
