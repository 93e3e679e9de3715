"""What a person can meet before a job starts is a line that says what is wrong, where, and what to do."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.storage.folder import LocalFolder
from tests.job.made_runs import jobs_of, write_job


@pytest.fixture
def job_file(tmp_path) -> Path:
    write_sample(LocalFolder(tmp_path / "data"), 8, seed=1)
    return write_job(tmp_path, tmp_path / "data")


def told(*arguments: str | Path) -> str:
    """What a refused command says, which is one line."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("drp-ray: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("below", ["", "/below/deeper"])
@pytest.mark.parametrize("command", ["run", "validate", "status"])
def test_a_root_that_is_a_file_is_named_before_anything_starts(job_file, tmp_path, command, below):
    (tmp_path / "root").write_text("a file")
    said = told(command, job_file, "--set", f"root={tmp_path / 'root'}{below}")
    assert f"{tmp_path / 'root'}: this is a file" in said


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_record_of_a_run_is_named_with_what_to_do(job_file, content):
    [job] = jobs_of(job_file)
    job.run_folder.write("run.json", content)
    said = told("run", job_file)
    assert f"{job.run_folder.uri}/run.json" in said and "delete it" in said


def not_utf8(text: str) -> pa.Array:
    return pa.array([text.encode() + b"\xff\xfe"]).cast(pa.string(), safe=False)


@pytest.mark.parametrize("field", ["text", "title"])
@pytest.mark.parametrize("column", ["target", "profile"])
def test_a_text_that_is_no_utf8_is_found_with_its_user_and_item(job_file, tmp_path, column, field):
    file = tmp_path / "data" / "users" / "part-00000.parquet"
    users = pq.read_table(file)
    number = users.schema.get_field_index(column)
    reviews = users[column].combine_chunks()
    structs = reviews.flatten() if column == "profile" else reviews
    names = [each.name for each in structs.type]
    place = 5
    fields = [structs.field(name) for name in names]
    spoilt = names.index(field)
    fields[spoilt] = pa.concat_arrays([fields[spoilt][:place], not_utf8("text"), fields[spoilt][place + 1 :]])
    changed = pa.StructArray.from_arrays(fields, fields=list(structs.type))
    item = structs.field("item_id")[place].as_py()
    if column == "profile":
        owner = next(
            user
            for user, start, end in zip(users["user_id"], reviews.offsets, reviews.offsets[1:], strict=False)
            if start.as_py() <= place < end.as_py()
        )
        changed = pa.ListArray.from_arrays(reviews.offsets, changed)
    else:
        owner = users["user_id"][place]
    pq.write_table(users.set_column(number, pa.field(column, changed.type), changed), file)
    said = told("validate", job_file)
    assert f"{owner.as_py()!r}" in said and f"{item!r}" in said and f".{field} " in said and "not UTF-8" in said


def test_a_description_that_is_no_utf8_is_found_with_its_item(job_file, tmp_path):
    file = tmp_path / "data" / "items" / "part-00000.parquet"
    items = pq.read_table(file)
    column = items["description"].combine_chunks()
    changed = pa.concat_arrays([column[:2], not_utf8("text"), column[3:]])
    pq.write_table(items.set_column(items.schema.get_field_index("description"), "description", changed), file)
    said = told("validate", job_file)
    assert f"description of item {items['item_id'][2].as_py()!r}" in said
