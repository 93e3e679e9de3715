"""What is exported comes back as it was: every text, every number, whatever it holds."""

import csv
import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.job.export import FORMULA_STARTS, ExportOptions, _csv, export, guarded, metrics_table, user_rows
from drp_ray.job.finished import open_groups
from drp_ray.job.latex import ESCAPED, escaped
from drp_ray.storage.folder import LocalFolder, open_folder
from tests.job.made_runs import finish, jobs_of, predictions, scores, write_job

HOSTILE = {
    "u1": 'says "it", and\nmore\r\nlines\rtoo',
    "u2": "=HYPERLINK(1)\x00after NUL",
    "u3": "\u202eright to left\u2028and \u2029 separators, \t tab",
    "u4": None,
    "u5": "",
    "u6": "'; DROP TABLE \\n \\ éß 你好 🦆 \ufeff",
    'u7,"': "-1+2@x",
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "data"
    write_sample(LocalFolder(folder), 4, seed=0)
    return folder


@pytest.fixture
def run(tmp_path, data) -> Path:
    """A finished run of hostile texts, in two parts that are in no order."""
    path = write_job(tmp_path, data)
    [job] = jobs_of(path)
    users = list(HOSTILE)
    finish(job, [predictions({user: HOSTILE[user] for user in part}) for part in (users[4:], users[:4])])
    return path


def written(run, form, tmp_path, **options):
    place = tmp_path / f"written{form}"
    export(open_groups([str(run)]), form, str(place), ExportOptions(**options))
    return place


def read_csv(content: bytes) -> pa.Table:
    convert = pyarrow.csv.ConvertOptions(
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
        column_types={name: pa.string() for name in ("user_id", "prediction", "reference")},
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(io.BytesIO(content), parse_options=parse, convert_options=convert)


def test_a_csv_gives_back_every_text_and_number_and_tells_null_from_empty(run, tmp_path):
    content = written(run, "csv", tmp_path).read_bytes()
    rows = read_csv(content)
    assert dict(zip(rows["user_id"].to_pylist(), rows["prediction"].to_pylist(), strict=True)) == HOSTILE
    assert rows["user_id"].to_pylist() == sorted(HOSTILE)
    exported = user_rows(open_groups([str(run)]), texts=True)
    assert rows["rouge1"].to_pylist() == exported["rouge1"].to_pylist()
    standard = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert standard[0] == exported.column_names
    assert [row[standard[0].index("prediction")] for row in standard[1:]] == [
        HOSTILE[user] or "" for user in sorted(HOSTILE)
    ]


def test_the_columns_are_who_what_and_every_score(run):
    rows = user_rows(open_groups([str(run)]), texts=True)
    assert rows.column_names[:6] == ["user_id", "item_id", "method", "status", "prediction", "reference"]
    assert {"rouge1", "rougeL", "bleu", "bleu_counts_1", "meteor"} <= set(rows.column_names[6:])
    failed = rows.filter(pa.compute.equal(rows["user_id"], "u4")).to_pylist()[0]
    assert (failed["status"], failed["prediction"], failed["rouge1"]) == ("error", None, None)


@given(texts=st.dictionaries(TEXTS, TEXTS | st.none(), min_size=1, max_size=5))
def test_any_text_comes_back_from_a_csv(texts):
    table = pa.table({"user_id": pa.array(texts, pa.string()), "prediction": pa.array(texts.values(), pa.string())})
    table = table.append_column("reference", table["prediction"])
    assert read_csv(_csv(table, for_spreadsheets=False)) == table


def test_parquet_and_datasets_give_back_the_same_rows(run, tmp_path):
    import datasets

    exported = user_rows(open_groups([str(run)]), texts=True)
    assert pq.read_table(written(run, "parquet", tmp_path)) == exported
    found = datasets.load_from_disk(str(written(run, "hf", tmp_path)))
    assert found.data.table.to_pylist() == exported.to_pylist()


@pytest.mark.parametrize("form", ["csv", "parquet", "hf"])
def test_without_texts_no_text_is_anywhere_in_what_is_written(run, tmp_path, form):
    place = written(run, form, tmp_path, texts=False)
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    # Parquet is compressed: what it holds is looked for in its rows.
    parts = [str(pq.read_table(path).to_pylist()) if form == "parquet" else path.read_bytes() for path in files]
    content = "".join(part if isinstance(part, str) else part.decode("utf-8", "replace") for part in parts)
    assert not any(text in content for text in ["says", "right to left", "DROP", "the car", "HYPERLINK"])
    assert "prediction" not in content and "u6" in content


def test_how_rows_lie_in_parts_changes_no_byte(tmp_path, data):
    contents = []
    for number, parts in enumerate([[["u1", "u2"], ["u3"]], [["u3", "u2", "u1"]], [["u2"], ["u1"], ["u3"]]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = write_job(folder, data)
        [job] = jobs_of(path)
        finish(job, [predictions({user: HOSTILE[user] for user in part}) for part in parts])
        contents.append(written(path, "csv", folder).read_bytes())
    assert len(set(contents)) == 1


@given(text=TEXTS)
def test_spreadsheets_see_no_formula_and_other_texts_are_untouched(text):
    [safe] = guarded(pa.table({"text": [text]}))["text"].to_pylist()
    assert not safe.startswith(FORMULA_STARTS)
    assert safe == (f"'{text}" if text.startswith(FORMULA_STARTS) else text)


@pytest.mark.parametrize("form", ["csv", "parquet", "latex", "hf"])
def test_what_is_there_is_replaced_only_by_force(run, tmp_path, form):
    place = written(run, form, tmp_path)
    files = {path: path.read_bytes() for path in [place, *place.rglob("*")] if path.is_file()}
    with pytest.raises(BadInput, match="is there already; choose another --out, or replace it with --force"):
        written(run, form, tmp_path)
    assert {path: path.read_bytes() for path in files} == files
    written(run, form, tmp_path, force=True)
    assert sorted(tmp_path.iterdir()) == sorted({*tmp_path.iterdir()}) and place.exists()


def test_force_replaces_no_folder_that_is_no_dataset(run, tmp_path):
    (tmp_path / "writtenhf").mkdir()
    (tmp_path / "writtenhf" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="no folder of a dataset"):
        written(run, "hf", tmp_path, force=True)
    assert (tmp_path / "writtenhf" / "thesis.txt").read_text() == "years of work"


def test_a_runs_folder_is_as_good_as_its_job_file_also_when_it_was_moved(run, tmp_path):
    [job] = jobs_of(run)
    rows = user_rows(open_groups([str(run)]), texts=True)
    assert user_rows(open_groups([job.run_folder.uri]), texts=True) == rows
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / job.root.uri.rpartition("/")[2] / "runs" / "run"
    assert user_rows(open_groups([str(moved)]), texts=True) == rows


def test_a_run_in_a_bucket_is_exported_into_the_bucket(run, tmp_path, bucket, s3_server, monkeypatch):
    for name, value in (
        ("AWS_ENDPOINT_URL", s3_server.options.endpoint_url),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ):
        monkeypatch.setenv(name, value)
    out = tmp_path / "out"
    there = open_folder(f"s3://{bucket}/r", s3_server.options)
    for path in out.rglob("*"):
        if path.is_file() and ".tmp" not in path.name:
            there.write(str(path.relative_to(out)), path.read_bytes())
    [job] = jobs_of(run)
    name = job.root.uri.rpartition("/")[2]
    place = f"s3://{bucket}/exported/rows.csv"
    assert export(open_groups([f"s3://{bucket}/r/{name}/runs/run"]), "csv", place, ExportOptions()) == place
    content = open_folder(f"s3://{bucket}/exported", s3_server.options).read("rows.csv")
    assert content == written(run, "csv", tmp_path).read_bytes()
    with pytest.raises(BadInput, match="is there already"):
        export(open_groups([str(run)]), "csv", place, ExportOptions())
    with pytest.raises(BadInput, match="on this machine"):
        export(open_groups([str(run)]), "hf", f"s3://{bucket}/x", ExportOptions())


def unescaped(text):
    for sign, command in sorted(ESCAPED.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(command, {"\\": "\x00", "{": "\x01", "}": "\x02"}.get(sign, sign))
    return text.replace("\x00", "\\").replace("\x01", "{").replace("\x02", "}")


@given(st.text(st.sampled_from("\\{}$&#_%~^<>|\"'`-ab é\n\t\x00\u202e"), max_size=20))
def test_no_sign_reaches_latex_with_another_meaning_and_none_is_lost(text):
    found = escaped(text)
    bare = re.sub(r"\\[a-z]+\{\}|\\[{}$&#_%]|\{-\}", "", found)
    assert not set(bare) & set("\\{}$&#_%~^<>|\"'`-\n\t\x00\u202e")
    assert unescaped(found) == " ".join(re.sub(r"[\x00\u202e]", " ", text).split())


def two_protocols(tmp_path, data):
    """A sweep of each protocol, its executions written down."""
    paths = []
    for name, protocol, sampling in (("a", "drp", {}), ("b_1", None, {"max_tokens": 9})):
        path = write_job(tmp_path, data, name=name, protocol=protocol, sampling=sampling)
        for number, job in enumerate(jobs_of(path)):
            finish(job, [predictions({"u1": "the car runs", "u2": None if number else "a b c", "u3": "runs"})])
        paths.append(str(path))
    return paths


def test_a_latex_table_has_the_means_over_executions_n_and_protocol(tmp_path, data):
    protocol, plain = two_protocols(tmp_path, data)
    table = (written(protocol, "latex", tmp_path)).read_text()
    assert "n = 2" in table and "Protocol: drp. Means over 2 executions." in table
    assert table.count(r"\\") == 2 and r"\toprule" in table
    row = next(line for line in table.splitlines() if line.startswith("a &"))
    runs = [group.scores for group in open_groups([protocol])[0].executions]
    means = [run.table.filter(pa.compute.field("user_id") != "u2")["rouge1"].to_pylist() for run in runs]
    assert f"{sum(map(sum, means)) / 4:.4f}" in row
    with pytest.raises(BadInput, match="different protocols"):
        export(open_groups([protocol, plain]), "latex", str(tmp_path / "t.tex"), ExportOptions())
    place = export(
        open_groups([protocol, plain]), "latex", str(tmp_path / "t.tex"), ExportOptions(mixed_protocols=True)
    )
    marked = Path(place).read_text()
    assert "Protocol: several, by row" in marked
    assert re.search(r"^a & rag & drp &", marked, re.MULTILINE)
    assert re.search(r"^b\\_1 & rag & none &", marked, re.MULTILINE)


def cells_of(table, row):
    """The cells of a LaTeX table by their titles, of the run of this name."""
    lines = [line.removesuffix(r" \\").split(" & ") for line in table.splitlines() if line.endswith(r" \\")]
    return dict(zip(lines[0], next(line for line in lines[1:] if line[0] == row), strict=True))


def test_a_latex_table_is_over_the_users_of_all_rows(tmp_path, data):
    """Two samples of users with one in common: the texts are equal, and so are the rows."""
    texts = {f"u{n}": "the car runs well." if n < 3 else "a b c" for n in range(6)}
    paths = []
    for seed, users in enumerate((["u0", "u1", "u3"], ["u3", "u4", "u5"], ["u4"])):
        path = write_job(tmp_path, data, name=f"s{seed}", users={"sample": 3, "seed": seed})
        [job] = jobs_of(path)
        finish(job, [predictions({user: texts[user] for user in users})])
        paths.append(str(path))
    table = metrics_table(open_groups(paths[:2]), mixed_protocols=False)
    assert "(n = 1)" in table
    assert cells_of(table, "s0")["BLEU"] == cells_of(table, "s1")["BLEU"]
    with pytest.raises(BadInput, match="no user is in all runs"):
        metrics_table(open_groups([paths[0], paths[2]]), mixed_protocols=False)


def test_a_latex_table_has_a_metric_over_the_users_who_have_it_in_all_rows(tmp_path, data, monkeypatch):
    paths = []
    for number, values in enumerate([[0.75, 0.75, None], [0.75, 0.75, 0.0]]):

        def with_meteor(predicted, values=values, scores=scores):
            table = scores(predicted)
            place = table.column_names.index("meteor")
            return table.set_column(place, "meteor", pa.array(values, pa.float64()))

        monkeypatch.setattr("tests.job.made_runs.scores", with_meteor)
        path = write_job(tmp_path, data, name=f"m{number}", sampling={"seed": number})
        [job] = jobs_of(path)
        finish(job, [predictions({"u1": "the car runs", "u2": "a b c", "u3": "runs"})])
        paths.append(str(path))
    table = metrics_table(open_groups(paths), mixed_protocols=False)
    assert "(n = 3; METEOR: n = 2)" in table
    assert [cells_of(table, name)["METEOR"] for name in ("m0", "m1")] == ["0.7500", "0.7500"]


def test_rows_of_several_runs_name_their_run(tmp_path, data):
    protocol, _ = two_protocols(tmp_path, data)
    rows = user_rows(open_groups([protocol]), texts=False)
    assert rows.column_names[:2] == ["run", "user_id"]
    assert rows["run"].to_pylist() == ["a-temperature0"] * 3 + ["a-temperature0.8"] * 3


def test_runs_that_are_not_there_or_not_finished_are_refused_with_what_to_do(tmp_path, data):
    path = write_job(tmp_path, data)
    [job] = jobs_of(path)
    with pytest.raises(BadInput, match=r"no run.json, so no run was made here"):
        open_groups([str(path)])
    with pytest.raises(BadInput, match=r"no run.json"):
        open_groups([str(tmp_path)])
    with pytest.raises(BadInput, match=r"no run\.json"):
        open_groups([str(tmp_path / "nothing")])
    finish(job, [predictions({"u1": "x"})])
    job.plan.stages["scores"].folder.delete("manifest.json")
    with pytest.raises(BadInput, match="scores is not complete; finish it with drp-ray run"):
        open_groups([str(path)])
    write_job(tmp_path, data, retrieval={"n": 2})
    with pytest.raises(BadInput, match="exists with other settings"):
        open_groups([str(path)])


def test_scores_of_earlier_predictions_are_refused(run):
    from tests.job.made_runs import fill

    [job] = jobs_of(run)
    fill(job, "predictions", [predictions({"u1": "other words"})])
    with pytest.raises(BadInput, match="its scores are older than what they are made from"):
        open_groups([str(run)])


def test_the_command_says_where_it_wrote(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    done = runner.invoke(app, ["export", str(run), "--format", "csv", "--no-text"])
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'run.csv'}\n")
    again = runner.invoke(app, ["export", str(run), "--format", "csv"])
    assert again.exit_code == 2 and "--force" in again.stderr
    unknown = runner.invoke(app, ["export", str(run), "--format", "cvs"])
    assert unknown.exit_code == 2 and "did you mean csv" in unknown.stderr
    alone = runner.invoke(app, ["export", str(run), "--format", "hf", "--for-spreadsheets"])
    assert alone.exit_code == 2 and "about --format csv" in alone.stderr
