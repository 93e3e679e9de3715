"""Sets in the hub's layouts, as `datasets` writes them, become datasets; what cannot be mapped is refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
from typer.testing import CliRunner

from drp_ray.cli import app
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.storage.folder import LocalFolder
from tests.data.raw import read_items, read_split


def amazon_users(users: int = 300) -> list[dict]:
    """Rows as `SnowCharmQ/DPL-main` has them."""

    def review(user: int, step: int) -> dict:
        words = f"{user}  wrote {step}"
        return {"rating": 5.0, "title": "t", "text": words, "asin": f"i{(user + step) % 7}", "timestamp": 10 * step}

    return [
        {"user_id": f"u{user}", "profile": [review(user, step) for step in range(4)], "data": review(user, 4)}
        for user in range(users)
    ]


def amazon_items() -> list[dict]:
    """Rows as `SnowCharmQ/DPL-meta` has them, one of them twice and one that nobody needs."""
    numbers = [*range(7), 3, 99]
    return [{"asin": f"i{n}", "title": f"item {n}", "description": f"{place} words"} for place, n in enumerate(numbers)]


def run(*arguments: object):
    return CliRunner().invoke(app, ["data", "hub", *map(str, arguments)])


def save_parquet(rows: list[dict], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(path)


def assert_amazon(out: Path, users: int = 300) -> None:
    rows = {row["user_id"]: row for row in read_split(out, "test")}
    assert len(rows) == users
    assert rows["u5"]["target"] == {"item_id": "i2", "rating": 5.0, "title": "t", "text": "5 wrote 4", "timestamp": 40}
    assert [review["item_id"] for review in rows["u5"]["profile"]] == ["i5", "i6", "i0", "i1"]
    assert read_items(out)[3] == {"item_id": "i3", "title": "item 3", "description": "3 words"}, "the first wins"
    assert [item["item_id"] for item in read_items(out)] == [f"i{n}" for n in range(7)]
    check_dataset(Dataset.open(LocalFolder(out / "test"), LocalFolder(out)))


def test_parquet_files_under_the_hubs_names(tmp_path):
    rows = amazon_users()
    save_parquet(rows[:200], tmp_path / "main" / "Books" / "test-00000-of-00002.parquet")
    save_parquet(rows[200:], tmp_path / "main" / "Books" / "test-00001-of-00002.parquet")
    save_parquet(rows[:1], tmp_path / "main" / "Books" / "train-00000-of-00001.parquet")
    save_parquet(rows[:2], tmp_path / "main" / "CDs_and_Vinyl" / "test-00000-of-00001.parquet")
    save_parquet(amazon_items(), tmp_path / "meta" / "data" / "train-00000-of-00001.parquet")
    arguments = [tmp_path / "main", "--config", "Books", "--meta", tmp_path / "meta", "--out", tmp_path / "out"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert_amazon(tmp_path / "out")
    assert "published (Books)" in result.stdout and "came again and was left out: 1" in result.stdout
    assert "Nothing to do" in run(*arguments).stdout
    save_parquet(rows[:100], tmp_path / "main" / "Books" / "test-00001-of-00002.parquet")
    result = run(*arguments)
    assert result.exit_code == 2 and "holds another dataset (other users)" in result.stderr


def test_folders_of_save_to_disk(tmp_path):
    users = datasets.DatasetDict({"test": datasets.Dataset.from_list(amazon_users())})
    users["train"] = users["test"].select([0])
    users.save_to_disk(tmp_path / "main" / "Books")
    datasets.DatasetDict({"Books": datasets.Dataset.from_list(amazon_items())}).save_to_disk(tmp_path / "meta")
    result = run(tmp_path / "main", "--config", "Books", "--meta", tmp_path / "meta", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert_amazon(tmp_path / "out")
    datasets.Dataset.from_list(amazon_items()).save_to_disk(tmp_path / "plain-meta")
    users["test"].save_to_disk(tmp_path / "plain")
    result = run(tmp_path / "plain", "--meta", tmp_path / "plain-meta", "--out", tmp_path / "plain-out")
    assert result.exit_code == 0, result.output
    assert read_split(tmp_path / "plain-out", "test") == read_split(tmp_path / "out", "test")


def test_yelps_reviews_name_their_items_themselves(tmp_path):
    def review(user: int, step: int) -> dict:
        place = (user + step) % 5
        date = f"2018-07-0{step + 1} 22:09:11"
        named = {"business_id": f"b{place}", "business_name": f"Place {place}"}
        return {"stars": 3, "text": f"{user} at {place}", "date": date, **named}

    rows = [
        {"user_id": f"u{user}", "profile": [review(user, step) for step in range(3)], "target": review(user, 3)}
        for user in range(6)
    ]
    save_parquet(rows, tmp_path / "DPL-Yelp" / "data" / "test-00000-of-00001.parquet")
    result = run(tmp_path / "DPL-Yelp", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "published (Yelp)" in result.stdout
    row = read_split(tmp_path / "out", "test")[0]
    assert row["target"] == {
        "item_id": "b3",
        "rating": 3.0,
        "title": None,
        "text": "0 at 3",
        "timestamp": 1530655751000 + 86400000,
    }
    assert read_items(tmp_path / "out") == [
        {"item_id": f"b{n}", "title": f"Place {n}", "description": None} for n in range(5)
    ]


def test_what_cannot_be_mapped_is_refused_with_what_was_found(tmp_path):
    rows = amazon_users(2)
    for row in rows:
        row["data"]["mark"] = row["data"].pop("rating")
    save_parquet(rows, tmp_path / "a" / "test.parquet")
    result = run(tmp_path / "a", "--meta", tmp_path / "a", "--meta-split", "test", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "data: no column for rating (rating or stars or overall); found: " in result.stderr
    assert "mark: double" in result.stderr and not (tmp_path / "out").exists()
    save_parquet(amazon_users(2), tmp_path / "b" / "test.parquet")
    result = run(tmp_path / "b", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "the reviews do not name their items" in result.stderr
    assert "item_id = asin" in result.stderr and "add --meta" in result.stderr
    save_parquet([{"asin": "i0", "label": "x"}], tmp_path / "meta" / "train.parquet")
    result = run(tmp_path / "b", "--meta", tmp_path / "meta", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "no column for title" in result.stderr and "label: string" in result.stderr


def test_a_split_or_a_folder_that_is_not_there_is_refused_with_what_is(tmp_path):
    save_parquet(amazon_users(2), tmp_path / "a" / "train-00000-of-00001.parquet")
    save_parquet(amazon_users(2), tmp_path / "a" / "validation-00000-of-00001.parquet")
    result = run(tmp_path / "a", "--meta", tmp_path / "a", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "split test: there is no such split" in result.stderr
    assert "found: train, validation" in result.stderr
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    result = run(tmp_path / "empty", "--out", tmp_path / "out")
    assert (
        result.exit_code == 2 and "neither a save_to_disk folder nor Parquet files; found: notes.txt" in result.stderr
    )


def test_a_row_that_cannot_be_read_is_named(tmp_path):
    rows = amazon_users(3)
    rows[1]["data"]["text"] = None
    save_parquet(rows, tmp_path / "a" / "test.parquet")
    save_parquet(amazon_items(), tmp_path / "meta" / "train.parquet")
    result = run(tmp_path / "a", "--meta", tmp_path / "meta", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "row 2: Expected `str`, got `null` - at `$.target.text`" in result.stderr


def test_a_hub_that_does_not_answer_is_an_error_that_names_the_set(tmp_path):
    command = [sys.executable, "-m", "drp_ray", "data", "hub", "someone/something", "--out", str(tmp_path / "out")]
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}  # nobody listens there
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("drp-ray: someone/something, split test: cannot be loaded: ")
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
