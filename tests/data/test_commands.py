"""`drp-ray data …` as a person uses it: what it refuses and how it says so, and what it makes of each form of data."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from drp_ray import schema
from drp_ray.cli import app
from drp_ray.data.build_options import BuildOptions
from drp_ray.data.cli import AmazonThresholds, RawOptions, Thresholds, data_app
from drp_ray.data.formats import AMAZON
from drp_ray.data.from_raw_files import RawBuild, build_from_raw_files
from drp_ray.data.raw_files import find_files
from drp_ray.data.rules import Rules
from drp_ray.inputs.dataset import UNFINISHED, Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.storage.folder import open_folder
from tests.data.raw import LOOSE, build_here, contents, job, read_items, read_split, review, small_world, write_lines

LOOSE_OPTIONS = [
    *("--min-item-reviewers", "2", "--min-user-reviews", "3", "--holdout", "1"),
    *("--min-profile-item-reviewers", "1", "--min-profile-reviews", "1"),
]


class Raw:
    """Raw files that can be built, to be spoilt in one way."""

    def __init__(self, folder: Path) -> None:
        self.rows, self.items = small_world(8, 8, 6)
        self.folder, self.out = folder, folder / "out"
        self.reviews, self.meta = folder / "reviews.jsonl.gz", folder / "meta.jsonl"
        self.write()

    def write(self) -> None:
        write_lines(self.reviews, self.rows)
        write_lines(self.meta, self.items)

    def run(self, *more: str):
        inputs = ["--reviews", str(self.reviews), "--meta", str(self.meta), "--out", str(self.out)]
        return CliRunner().invoke(app, ["data", "amazon", *inputs, *LOOSE_OPTIONS, *more])

    def refused(self, *more: str) -> str:
        result = self.run(*more)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("drp-ray: ") and "Traceback" not in result.output
        assert not (self.out / "manifest.json").exists()
        return result.stderr


@pytest.fixture
def raw(tmp_path) -> Raw:
    return Raw(tmp_path)


def test_several_files_may_follow_one_option(raw, ray_here):
    more = write_lines(raw.folder / "more.jsonl", [review(f"new{n}", f"i{k}", k) for n in range(3) for k in range(4)])
    arguments = ["--reviews", str(raw.reviews), str(more), "--meta", str(raw.meta), "--out", str(raw.out)]
    result = CliRunner().invoke(app, ["data", "amazon", *arguments, *LOOSE_OPTIONS])
    assert result.exit_code == 0, result.output
    assert {"new0", "u0"} <= {row["user_id"] for row in read_split(raw.out, "test")}
    assert "dataset" in result.stdout and (raw.out / "manifest.json").exists()


def test_bad_rows_above_the_share_are_refused_with_file_and_line(raw, ray_here):
    raw.rows[3] = '{"user_id": "u0"}'
    raw.rows[20] = "not json"
    raw.rows[30] = json.dumps({**raw.rows[30], "text": 7})
    raw.write()
    said = raw.refused("--chunk-mb", "0.002")
    assert "3 of 48 rows cannot be read, more than --max-bad-rows 0.10%" in said
    for line, reason in ((4, "missing required field"), (21, "malformed"), (31, "Expected `str | null`, got `int`")):
        assert f"reviews.jsonl.gz, line {line}: " in said and reason in said, said
    result = raw.run("--max-bad-rows", "10%")
    assert result.exit_code == 0, result.output
    assert "row that cannot be read" in result.stdout and "│ 3 " in result.stdout


def test_a_file_of_another_kind_is_refused_before_anything_starts(raw):
    raw.rows = [{"user": "a", "stars": 3}] * 5
    raw.write()
    assert "reviews.jsonl.gz, line 1: Object missing required field `user_id`" in raw.refused()
    assert not raw.out.exists()


def test_a_truncated_gzip_is_named_unless_it_is_allowed(raw, ray_here):
    random.seed(1)
    noise = [review("n", f"x{n}", n, "".join(random.choices("abcdefgh ", k=900))) for n in range(300)]
    raw.rows += noise
    raw.write()
    whole = raw.reviews.read_bytes()
    raw.reviews.write_bytes(whole[: len(whole) * 2 // 3])
    assert "reviews.jsonl.gz: the gzip file ends too early" in raw.refused("--chunk-mb", "0.05")
    result = raw.run("--allow-truncated", "--chunk-mb", "0.05")
    assert result.exit_code == 0, result.output
    assert "Ends too early, what is there was used: reviews.jsonl.gz" in result.stdout
    assert "row that cannot be read                         │ 0 " in result.stdout, "the last line was not whole"
    assert len(read_split(raw.out, "test")) == 8


def test_damage_inside_a_gzip_is_named(raw, ray_here):
    data = bytearray(raw.reviews.read_bytes())
    data[-6] ^= 0xFF  # in the checksum
    raw.reviews.write_bytes(bytes(data))
    assert "reviews.jsonl.gz: the gzip file is damaged" in raw.refused()


def test_members_of_a_gzip_and_padding_are_read_as_one_file(raw, ray_here):
    lines = [json.dumps(row).encode() + b"\n" for row in raw.rows]
    raw.reviews.write_bytes(gzip.compress(b"".join(lines[:20])) + gzip.compress(b"".join(lines[20:])) + b"\0" * 512)
    assert raw.run().exit_code == 0
    assert len(read_split(raw.out, "test")) == 8


def test_an_empty_result_names_the_rule_that_removed_everything(raw, ray_here):
    said = raw.refused("--min-review-chars", "100000")
    assert "nothing is left after the rule 'review too short'" in said
    said = raw.refused("--min-item-reviewers", "9")
    assert "nothing is left after the rule 'item with too few reviewers'" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-bad-rows", "lots"], "--max-bad-rows lots: a share is needed"),
        (["--min-user-reviews", "600"], "min_user_reviews 600 is above max_user_reviews 500"),
        (["--reviews", "/nowhere/at.jsonl"], "/nowhere/at.jsonl: no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused(raw, options, said):
    assert said in raw.refused(*options)


def test_the_options_defaults_are_those_of_the_rules_and_of_a_build():
    assert Rules(**asdict(AmazonThresholds())) == Rules(**asdict(Thresholds())) == Rules()
    options, build = asdict(RawOptions()), asdict(BuildOptions())
    assert options.pop("max_bad_rows") == f"{build.pop('max_bad_rows'):.1%}"
    assert options.pop("chunk_mb") == build.pop("chunk_bytes") / (1 << 20)
    assert options == build


def test_amazon_and_yelp_have_the_same_options_but_for_what_yelps_files_lack():
    commands = get_command(data_app).commands
    options = {name: {option.opts[0] for option in command.params} for name, command in commands.items()}
    descriptions = {"--min-description-chars", "--max-description-chars"}
    assert options["amazon"] - options["yelp"] == {"--meta", "--item-key", *descriptions}
    assert options["yelp"] - options["amazon"] == {"--business"}
    thresholds = {f"--{field.name.replace('_', '-')}" for field in fields(Thresholds)}
    assert options["yelp"] - options["table"] == {"--reviews", "--business", "--reviews-per-part", *thresholds}


def test_a_file_of_an_unknown_kind_is_refused(raw):
    raw.meta = raw.meta.rename(raw.folder / "meta.csv")
    assert "meta.csv: unknown kind of file" in raw.refused()


def test_a_half_made_dataset_is_refused_by_a_job(raw, ray_here, tiny_model):
    import yaml

    assert raw.run().exit_code == 0
    (raw.out / UNFINISHED).write_text("{}")
    settings = yaml.safe_load((Path(__file__).parents[2] / "jobs" / "quickstart.yaml").read_text())
    settings |= {"dataset": str(raw.out / "test"), "root": str(raw.folder / "results")}
    settings["models"]["llm"]["id"] = str(tiny_model)
    (raw.folder / "job.yaml").write_text(yaml.safe_dump(settings))
    result = CliRunner().invoke(app, ["validate", str(raw.folder / "job.yaml")])
    assert result.exit_code == 2 and "is not finished" in result.stderr
    (raw.out / UNFINISHED).unlink()
    result = CliRunner().invoke(app, ["validate", str(raw.folder / "job.yaml")])
    assert result.exit_code == 0 and "8 users" in result.stdout


def test_parquet_and_json_lines_make_the_same_users(raw, tmp_path):
    columns = ["user_id", "asin", "rating", "title", "text", "timestamp"]
    rows = pa.Table.from_pylist([{name: row[name] for name in columns} for row in raw.rows])
    pq.write_table(rows, tmp_path / "reviews.parquet", row_group_size=7)
    pq.write_table(pa.Table.from_pylist(raw.items), tmp_path / "meta.parquet")
    build_here(job([tmp_path / "reviews.parquet"], [tmp_path / "meta.parquet"], tmp_path / "a", LOOSE))
    build_here(job([raw.reviews], [raw.meta], tmp_path / "b", LOOSE))
    assert read_split(tmp_path / "a", "test") == read_split(tmp_path / "b", "test")
    assert read_items(tmp_path / "a") == read_items(tmp_path / "b")
    pq.write_table(rows.drop_columns("rating"), tmp_path / "reviews.parquet")
    raw.reviews = tmp_path / "reviews.parquet"
    assert "column rating is missing (found: user_id, asin, title" in raw.refused()


def test_yelp_takes_the_business_by_its_name_and_the_date_as_the_time(tmp_path, ray_here):
    reviews = [
        {
            "review_id": f"r{user}{step}",
            "user_id": f"u{user}",
            "business_id": f"b{(user + step) % 6}",
            "stars": 4.0,
            "useful": 0,
            "text": f"{user} {step} " + "a long enough text " * 12,
            "date": f"2018-07-0{step + 1} 22:09:1{user}",
        }
        for user in range(6)
        for step in range(5)
    ]
    business = [{"business_id": f"b{n}", "name": f"Café {n}", "city": "X", "stars": 4.5} for n in range(6)]
    paths = write_lines(tmp_path / "review.json", reviews), write_lines(tmp_path / "business.json", business)
    arguments = ["--reviews", str(paths[0]), "--business", str(paths[1]), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["data", "yelp", *arguments, *LOOSE_OPTIONS])
    assert result.exit_code == 0, result.output
    assert "published (Yelp)" in result.stdout and "44.06 ± 41.69" in result.stdout
    (row,) = [row for row in read_split(tmp_path / "out", "test") if row["user_id"] == "u2"]
    assert row["target"] == {
        "item_id": "b0",
        "rating": 4.0,
        "title": None,
        "text": "2 4 " + " ".join(["a long enough text"] * 12),
        "timestamp": 1_530_828_552_000,  # 2018-07-05 22:09:12 UTC
    }
    assert {(row["title"], row["description"]) for row in read_items(tmp_path / "out")} == {
        (f"Café {n}", None) for n in range(6)
    }
    reviews[3]["date"] = "last week"
    write_lines(paths[0], reviews)
    arguments[-1] = str(tmp_path / "other")
    result = CliRunner().invoke(app, ["data", "yelp", *arguments, *LOOSE_OPTIONS])
    assert result.exit_code == 2 and "review.json, line 4: Invalid isoformat string: 'last week'" in result.stderr


def test_from_a_bucket_into_a_bucket(raw, s3_server, bucket, ray_here):
    places = open_folder(f"s3://{bucket}/raw", s3_server.options)
    places.write("reviews.jsonl.gz", raw.reviews.read_bytes())
    places.write("meta.jsonl", raw.meta.read_bytes())
    out = open_folder(f"s3://{bucket}/datasets/small", s3_server.options)
    found = [
        find_files([f"s3://{bucket}/raw/{name}"], s3_server.options) for name in ("reviews.jsonl.gz", "meta.jsonl")
    ]
    build_from_raw_files(
        RawBuild(AMAZON, *found, out, LOOSE, BuildOptions(chunk_bytes=3000, reviews_per_part=9)), print
    )
    build_here(job([raw.reviews], [raw.meta], raw.out, LOOSE, chunk_bytes=3000, reviews_per_part=9))
    local = {name: data for name, data in contents(raw.out).items() if name != "table.txt"}
    assert not out.at("build", "reviews").entries() and not out.at("build", "routed").entries()
    names = {name: name.rpartition("/") for name in local}
    remote = {name: out.at(*([place] if place else [])).read(last) for name, (place, _, last) in names.items()}
    manifests = [json.loads(files.pop("manifest.json")) for files in (remote, local)]
    assert all(manifests[0][key] == manifests[1][key] for key in ("splits", "drops"))
    rows = {
        name: [pq.read_table(pa.BufferReader(files[name])).to_pylist() for files in (remote, local)] for name in local
    }
    assert all(there == here_ for there, here_ in rows.values()) and len(rows) > 3
    dataset = Dataset.open(out.at("test"), out)
    check_dataset(dataset)


def family_of(process: subprocess.Popen) -> list[psutil.Process]:
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path):
    rows, items = small_world(60, 60, 40)
    reviews = write_lines(tmp_path / "reviews.jsonl.gz", rows)
    meta = write_lines(tmp_path / "meta.jsonl", items)
    arrangement = {"chunk_bytes": round(0.01 * (1 << 20)), "reviews_per_part": 40}
    build_here(job([reviews], [meta], tmp_path / "undisturbed", LOOSE, **arrangement))
    out = tmp_path / "out"
    inputs = ["--reviews", str(reviews), "--meta", str(meta), "--out", str(out)]
    command = [sys.executable, "-m", "drp_ray", "data", "amazon", *inputs, *LOOSE_OPTIONS]
    command += ["--chunk-mb", "0.01", "--reviews-per-part", "40", "--num-cpus", "2"]
    draw = random.Random(time.time_ns())
    for place, enough in (("build/reviews", 5), ("test/users", 3)):
        with (tmp_path / "output").open("ab") as log:
            running = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
        give_up = time.monotonic() + 240
        while len(list((out / place).glob("part-*"))) < enough:
            assert running.poll() is None and time.monotonic() < give_up, (tmp_path / "output").read_text()
            time.sleep(0.02)
        time.sleep(draw.random() * 0.3)
        family = family_of(running)
        for member in family:
            try:
                member.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=30)
        running.wait()
        assert (out / UNFINISHED).exists() and not (out / "manifest.json").exists(), "killed too late"
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "continuing" in done.stdout
    assert contents(out) == contents(tmp_path / "undisturbed")


def as_users(rows: list[dict]) -> list[dict]:
    return [{name: row[name] for name in schema.USERS.names} for row in rows]


def test_other_peoples_tables_become_a_dataset(raw, ray_here, tmp_path):
    build_here(job([raw.reviews], [raw.meta], raw.out, LOOSE))
    users, items = as_users(read_split(raw.out, "test")), read_items(raw.out)
    for user in users:
        user["profile"] = user["profile"][::-1]
    paths = write_lines(tmp_path / "users.jsonl", users), write_lines(tmp_path / "items.jsonl.gz", items)
    arguments = ["data", "table", *map(str, paths), "--out", str(tmp_path / "made"), "--chunk-mb", "0.005"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert as_users(read_split(tmp_path / "made", "test")) == as_users(read_split(raw.out, "test")), (
        "in time order again"
    )
    assert read_items(tmp_path / "made") == items
    assert len(list((tmp_path / "made" / "test" / "users").iterdir())) > 2
    assert "8" in result.stdout
    users[2]["user_id"] = users[1]["user_id"]
    write_lines(paths[0], users)
    arguments[5] = str(tmp_path / "twice")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "user_id 'u1' occurs more than once" in result.stderr
    assert (tmp_path / "twice" / UNFINISHED).exists()
    users[2]["user_id"], users[2]["target"]["item_id"] = "u2", "unheard-of"
    write_lines(paths[0], users)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "'unheard-of' (user u2)" in result.stderr


def test_a_review_is_of_the_item_that_was_bought_or_of_its_parent(tmp_path):
    """Variants: the catalogue lists the parent, which only some of the reviews name as what was bought."""
    reviews, meta = small_world(users=6, items=6, reviews=5)
    for number, row in enumerate(reviews):
        row["parent_asin"] = row["asin"]
        if number % 5 == 0:
            row["asin"] = f"{row['asin']}-variant"
    paths = write_lines(tmp_path / "r.jsonl", reviews), write_lines(tmp_path / "m.jsonl", meta)
    found = {}
    for key in (None, "parent_asin"):
        out = tmp_path / str(key)
        arguments = ["--reviews", str(paths[0]), "--meta", str(paths[1]), "--out", str(out)]
        arguments += ["--item-key", key] if key else []
        result = CliRunner().invoke(app, ["data", "amazon", *arguments, *LOOSE_OPTIONS])
        assert result.exit_code == 0, result.output
        found[key] = sum(len(row["profile"]) + 1 for row in read_split(out, "test"))
    assert found["parent_asin"] == len(reviews)
    assert found[None] == sum(not row["asin"].endswith("-variant") for row in reviews)
