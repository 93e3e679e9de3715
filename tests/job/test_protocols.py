"""A protocol decides which runs are made and what their mean is called; it changes no row, and settings that
contradict it are refused."""

import json
import re
from itertools import permutations
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import drp_ray
from drp_ray.cli import app
from drp_ray.config import PROTOCOL_NAMES, known_protocol
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.job.protocols import (
    PROTOCOLS,
    TEMPERATURE,
    check_same_protocol,
    expand,
    find_protocol,
    marked,
    single_execution,
)
from drp_ray.job.run_record import check_run_name, write_run
from drp_ray.job.sweep import open_sweep
from drp_ray.storage.folder import LocalFolder

JOB = {"name": "s", "method": "rag", "models": {"llm": {"id": "some/model"}}}
DPL = [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("protocols") / "data"
    write_sample(LocalFolder(folder), 4, seed=0)
    return folder


@pytest.fixture
def job_file(tmp_path, data):
    def job_file(**settings):
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({**JOB, "dataset": str(data), "root": str(tmp_path / "out"), **settings}))
        return path

    return job_file


def folders(sweep):
    return {info.folder.uri for run in sweep.runs for info in run.job.plan.stages.values()}


def test_the_names_that_a_job_may_give_are_those_that_are_defined():
    assert tuple(PROTOCOLS) == PROTOCOL_NAMES
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


@pytest.mark.parametrize(
    ("protocol", "runs"),
    [("dpl", 5), ("drp", 2), ("yelp-100x5", 5), ("full", 1), ("dpl+yelp-100x5", 25), ("full+drp", 2)],
)
def test_a_protocol_makes_its_executions_and_every_run_says_its_name(job_file, protocol, runs):
    opened = open_sweep(job_file(protocol=protocol))
    assert len(opened.runs) == find_protocol(protocol).executions == runs
    assert {run.job.config.protocol for run in opened.runs} == {opened.protocol} == {known_protocol(protocol)}
    settings = {(run.job.config.sampling.temperature, run.job.config.users.seed) for run in opened.runs}
    assert len(settings) == runs
    assert all(choice.is_averaged for run in opened.runs for choice in run.choices)


def test_the_protocols_are_those_of_the_papers(job_file):
    temperatures = {
        name: [run.job.config.sampling.temperature for run in open_sweep(job_file(protocol=name)).runs]
        for name in ("dpl", "drp")
    }
    assert temperatures == {"dpl": DPL, "drp": [0, 0.8]}
    samples = [run.job.config.users for run in open_sweep(job_file(protocol="yelp-100x5")).runs]
    assert [(users.sample, users.limit, users.seed) for users in samples] == [(100, None, seed) for seed in range(5)]


def test_a_protocol_is_in_no_fingerprint_and_a_run_can_be_given_one_later(job_file, tmp_path):
    without = open_sweep(job_file(sampling={"temperature": DPL}))
    named = open_sweep(job_file(protocol="dpl"))
    assert folders(without) == folders(named)
    assert [run.job.config.name for run in without.runs] == [run.job.config.name for run in named.runs]
    folder = LocalFolder(tmp_path / "run")
    earlier, later = without.runs[0].job, named.runs[0].job
    write_run(folder, earlier.config, earlier.plan)
    check_run_name(folder, later.config, later.plan)
    write_run(folder, later.config, later.plan)
    assert json.loads(folder.read("run.json"))["protocol"] == "dpl"


@given(order=st.sampled_from(list(permutations(DPL))), parts=st.permutations(["dpl", "full"]))
def test_orders_of_values_and_of_names_change_neither_the_runs_nor_the_name(order, parts):
    expanded = expand({"sampling": {"temperature": list(order)}}, "+".join(parts))
    assert expanded["protocol"] == "dpl+full"
    assert sorted(expanded["sampling"]["temperature"]) == DPL


def test_expanding_twice_is_expanding_once_and_changes_no_argument():
    settings = {"sampling": {"top_p": 0.5}, "users": {}}
    for name in PROTOCOLS:
        once = expand(settings, name)
        assert expand(once, name) == once
        assert settings == {"sampling": {"top_p": 0.5}, "users": {}}
    assert expand(settings, None) == settings


def test_a_value_that_is_one_of_the_protocols_becomes_all_of_them():
    assert expand({"sampling": {"temperature": 0.8}}, "drp")["sampling"]["temperature"] == [0, 0.8]


@pytest.mark.parametrize(
    ("settings", "protocol", "message"),
    [
        ({"sampling": {"temperature": [0, 0.8]}}, "dpl", r"sampling.temperature is \[0, 0.8\], but.*needs 0.2, 0.4"),
        ({"sampling": {"temperature": [0.2, 0.2, 0.4, 0.6, 0.8]}}, "dpl", "sampling.temperature"),
        ({"sampling": {"temperature": 0.3}}, "dpl", "sampling.temperature is 0.3"),
        ({"sampling": {"seed": [1, 2]}}, "drp", "sampling.seed.*does not average over it"),
        ({"users": {"sample": 100, "seed": [0, 1]}}, "dpl", "users.seed.*does not average over it"),
        ({"sampling": {"extractor": {"temperature": 0.6}}}, "drp", "sampling.extractor.temperature is 0.6"),
        ({"sampling": [{"temperature": 0}]}, "drp", "sampling is .*one by one"),
        ({"users": {"limit": 5}}, "full", "users.limit is 5, but the protocol full"),
        ({"users": {"sample": 5}}, "full", "users.sample is 5"),
        ({"users": {"sample": 50}}, "yelp-100x5", "users.sample is 50, but.*needs 100"),
        ({"users": {"limit": 100}}, "yelp-100x5", "users.limit"),
        ({"users": {"seed": [5, 6, 7, 8, 9]}}, "yelp-100x5", "users.seed"),
        ({"sampling": {"temperature": [0.2, 0.4]}}, "full", "does not average over it"),
        ({}, "dpl+drp", "dpl and drp settle the same settings"),
        ({}, "full+yelp-100x5", "yelp-100x5 and full settle the same settings"),
        ({}, "dpll", "there is no protocol 'dpll': did you mean dpl"),
        ({}, "drp+drp", "names a protocol twice"),
    ],
)
def test_settings_that_contradict_a_protocol_are_refused_by_key(settings, protocol, message):
    with pytest.raises(BadInput, match=message):
        expand(settings, protocol)


def test_a_judge_may_have_a_temperature_of_its_own():
    assert expand({"sampling": {"judge": {"temperature": 0}}}, "dpl")["sampling"]["judge"] == {"temperature": 0}


@pytest.mark.parametrize("name", ["dpll", "", "dpl+", "DPL"])
def test_an_unknown_protocol_is_refused_wherever_a_job_is_opened(job_file, name):
    path = job_file(protocol=name)
    for opening in (open_sweep, drp_ray.open):
        with pytest.raises(BadInput, match="protocol: there is no protocol"):
            opening(path)
    with pytest.raises(BadInput, match="give one name"):
        open_sweep(job_file(protocol=["dpl", "drp"]))


def test_a_job_with_several_executions_is_for_sweep_and_one_with_one_is_a_run(job_file):
    path = job_file(protocol="drp")
    with pytest.raises(BadInput, match="protocol drp has 2 executions: use drp-ray sweep"):
        drp_ray.open(path)
    assert drp_ray.open(path, {"protocol": "full"}).config.protocol == "full"
    assert drp_ray.open(path, {"protocol": None}).config.protocol is None
    with pytest.raises(BadInput, match=r"users\.limit is 3"):
        single_execution({"users": {"limit": 3}}, "full")


def test_rows_of_different_protocols_stand_in_one_table_only_where_asked_and_marked():
    assert not check_same_protocol({"a": "dpl", "b": "dpl"}, mixed_allowed=False)
    assert not check_same_protocol({"a": None, "b": None}, mixed_allowed=False)
    for others in ({"a": "dpl", "b": "drp"}, {"a": "dpl", "b": None}, {"a": "dpl", "b": "dpl+yelp-100x5"}):
        with pytest.raises(BadInput, match=r"different protocols.*a \(dpl\).*--mixed-protocols"):
            check_same_protocol(others, mixed_allowed=False)
        assert check_same_protocol(others, mixed_allowed=True)
    assert (marked("run", "dpl"), marked("run", None)) == ("run (dpl)", "run (no protocol)")


def test_temperatures_of_the_protocols_are_what_the_documents_say():
    text = (Path(__file__).parents[2] / "docs/method.md").read_text()
    said = re.search(r"mean over the temperatures ([\d., \nand]+?)\*\*", text)[1]
    assert [float(value) for value in re.findall(r"\d\.\d", said)] == list(PROTOCOLS["dpl"].averaged[TEMPERATURE])


def test_the_protocol_of_the_command_wins_over_that_of_the_file(job_file):
    path = str(job_file(protocol="dpl"))
    done = CliRunner().invoke(app, ["sweep", path, "--protocol", "drp", "--dry-run"])
    assert done.exit_code == 0 and done.stdout.startswith("2 runs: s-temperature0, s-temperature0.8")
    unknown = CliRunner().invoke(app, ["sweep", path, "--protocol", "drpp", "--dry-run"])
    assert unknown.exit_code == 2 and "did you mean drp?" in unknown.stderr
    alone = CliRunner().invoke(app, ["run", path])
    assert alone.exit_code == 2 and "use drp-ray sweep" in alone.stderr
