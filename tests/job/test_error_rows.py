"""`drp-ray errors`: the error rows of a job by reason, from what is committed so far."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from drp_ray import schema
from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.job.error_rows import errors_of, reason_of
from drp_ray.job.job import Job
from drp_ray.storage.folder import LocalFolder
from tests.job.made_runs import fill, predictions, write_job

ERRORS = [
    None,
    "no usable reply: generator: the reply is empty",
    "the endpoint did not answer: m at 'http://x': no completion in the reply '{\"id\": 7}'",
    "the endpoint did not answer: m at 'http://x': no completion in the reply '<html>'",
    None,
    "refused by the engine: \x1b[31m[/INST] bad",
]


@pytest.fixture
def job(tmp_path):
    return new_job(tmp_path)


def new_job(folder):
    write_sample(LocalFolder(folder / "data"), 1, seed=0)
    return write_job(folder, folder / "data")


def with_errors(errors, first=0):
    rows = predictions({f"u{first + n}": None if error else "text" for n, error in enumerate(errors)}).to_pylist()
    told = [{**row, "error": error, "attempts": 3} for row, error in zip(rows, errors, strict=True)]
    return pa.Table.from_pylist(told, schema.PREDICTIONS)


def made(job, *parts):
    opened = Job.open(job)
    fill(opened.opened, "predictions", parts)
    return opened


def test_reasons_are_counted_over_parts_the_most_frequent_first(job):
    [stage] = made(job, with_errors(ERRORS[:3]), with_errors(ERRORS[3:], 3)).errors()
    assert (stage.stage, stage.rows, stage.errors) == ("predictions", 6, 4)
    assert [reason.rows for reason in stage.reasons] == [2, 1, 1]
    assert stage.reasons[0].text == "the endpoint did not answer: m at …: no completion in the reply …"
    assert stage.reasons[0].examples[0].startswith("u2, item of u2 (attempts: 3): the endpoint did not answer: m at 'h")


def test_the_command_lists_them_and_says_so_by_its_exit_code(job):
    made(job, with_errors(ERRORS))
    done = CliRunner().invoke(app, ["errors", str(job), "--examples", "1"])
    assert done.exit_code == 3, done.output
    lines = done.output.splitlines()
    assert lines[0] == "predictions: 4 error rows of 6"
    assert "  1 × no usable reply: generator: the reply is empty" in lines
    assert sum(line.startswith("      u") for line in lines) == 3
    assert "\x1b" not in done.output and "\\x1b[31m[/INST] bad" in done.output
    allowed = CliRunner().invoke(app, ["errors", str(job), "--set", "runtime.max_error_rate=0.7"])
    assert allowed.exit_code == 0


def test_texts_of_any_script_are_shown_as_they_are_each_on_a_line(job):
    made(job, with_errors(["私の\u3000本\xa0: a‿b", "no\nlines\r\nof its\u2028own"]))
    done = CliRunner().invoke(app, ["errors", str(job)])
    lines = done.output.split("\n")
    assert "  1 × 私の\u3000本\xa0: a‿b" in lines
    assert "  1 × no lines of its own" in lines
    assert "      u1, item of u1 (attempts: 3): no lines of its own" in lines


def test_a_job_without_error_rows_and_one_that_was_not_begun_have_none(job):
    assert [stage.errors for stage in Job.open(job).errors()] == [0]
    made(job, with_errors([None, None]))
    done = CliRunner().invoke(app, ["errors", str(job)])
    assert (done.exit_code, done.output) == (0, "predictions: 0 error rows of 2\n")


def test_a_wrong_configuration_is_bad_input(job):
    assert CliRunner().invoke(app, ["errors", str(job), "--set", "retrieval.m=1"]).exit_code == 2


@settings(max_examples=15)
@given(st.lists(st.sampled_from(ERRORS), max_size=12), st.integers(1, 5))
def test_counts_add_up_to_the_error_rows_however_they_lie_in_parts(tmp_path_factory, errors, size):
    folder = tmp_path_factory.mktemp("errors")
    parts = [with_errors(errors[start : start + size], start) for start in range(0, len(errors), size)]
    [stage] = errors_of(made(new_job(folder), *(parts or [with_errors([])])).opened)
    assert (stage.rows, stage.errors) == (len(errors), sum(error is not None for error in errors))
    expected = {reason_of(error) for error in errors if error}
    assert len(stage.reasons) == len(expected)
