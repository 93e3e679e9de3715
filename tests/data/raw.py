"""Raw files for tests, and a plain implementation of the rules to compare the builder with."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.data.build_options import BuildOptions
from drp_ray.data.formats import AMAZON
from drp_ray.data.from_raw_files import RawBuild, build_from_raw_files
from drp_ray.data.raw_files import find_files
from drp_ray.data.rules import Rules
from drp_ray.data.task_runner import in_this_process
from drp_ray.storage.folder import Folder, LocalFolder, S3Options

DESCRIPTION = "It has a description. " * 10


def review(user: str, item: str, timestamp: int, text: str = "", **more: Any) -> dict[str, Any]:
    """A raw row of Amazon's; the text is of its own unless given."""
    text = text or f"{user} on {item} at {timestamp}: " + "it is what it is " * 13
    row = {"user_id": user, "asin": item, "parent_asin": f"{item}-parent", "timestamp": timestamp, "text": text}
    return {"rating": 4.0, "title": f"title of {item}", "images": [], **row, **more}


def item(item_id: str, **more: Any) -> dict[str, Any]:
    """A raw row of Amazon's metadata."""
    return {"parent_asin": item_id, "title": f"name of {item_id}", "description": [DESCRIPTION], **more}


def small_world(users: int = 6, items: int = 6, reviews: int = 5) -> tuple[list[dict], list[dict]]:
    """Users with as many reviews each, of items in turn."""
    rows = [
        review(f"u{user}", f"i{(user + step) % items}", 1_000 * step + user)
        for user in range(users)
        for step in range(reviews)
    ]
    return rows, [item(f"i{number}") for number in range(items)]


LOOSE = Rules(min_item_reviewers=2, min_user_reviews=3, holdout=1, min_profile_item_reviewers=1, min_profile_reviews=1)


def write_lines(path: Path, rows: list[Any]) -> Path:
    """Write rows as JSON lines, gzipped where the name says so; a text or bytes stand as they are."""
    lines = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    data = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def job(
    reviews: list[Path], meta: list[Path], out: Path | Folder, rules: Rules, kind=AMAZON, **options: Any
) -> RawBuild:
    """A build of local files."""
    s3 = S3Options()
    folder = LocalFolder(out) if isinstance(out, Path) else out
    files = [find_files([str(path) for path in paths], s3) for paths in (reviews, meta)]
    return RawBuild(kind, *files, folder, rules, BuildOptions(**options))


def build_here(wanted: RawBuild, say: Callable[[str], None] = print) -> str:
    """Build without Ray."""
    return build_from_raw_files(wanted, say, in_this_process)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, hidden ones as well."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read_split(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a split, in the order of the files."""
    files = sorted((folder / split / "users").glob("part-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def read_items(folder: Path) -> list[dict[str, Any]]:
    """The catalogue."""
    return pa.concat_tables([pq.read_table(file) for file in sorted((folder / "items").iterdir())]).to_pylist()


def plain_build(reviews: list[dict], meta: list[dict], rules: Rules) -> dict[str, Any]:
    """The rules with dictionaries: rows of every split, and the ids of the items that they name."""
    first: dict[str, dict] = {}
    for row in meta:
        first.setdefault(row["parent_asin"], row)
    good = {name for name, row in first.items() if _is_good_item(row, rules)}
    by_pair: dict[tuple[str, str], dict] = {}
    for row in reviews:  # of equally new ones the last one in the input
        whole = row["title"] and row["rating"] is not None and row["timestamp"] is not None
        if whole and len(row["text"]) >= rules.min_review_chars and row["text"].split() and row["asin"] in good:
            pair = row["user_id"], row["asin"]
            if pair not in by_pair or row["timestamp"] >= by_pair[pair]["timestamp"]:
                by_pair[pair] = row
    by_text: dict[tuple[str, str], dict] = {}
    for row in sorted(by_pair.values(), key=lambda row: (row["timestamp"], row["asin"])):
        by_text[row["user_id"], " ".join(row["text"].split())] = row
    left = _in_turn(
        list(by_text.values()),
        lambda count: count >= rules.min_item_reviewers,
        lambda count: rules.min_user_reviews <= count <= rules.max_user_reviews,
    )
    users: dict[str, list[dict]] = {}
    for row in sorted(left, key=lambda row: (row["user_id"], row["timestamp"], row["asin"])):
        users.setdefault(row["user_id"], []).append(row)
    users = {name: rows for name, rows in users.items() if len(rows) >= rules.holdout}
    base = {name: rows[: len(rows) - rules.holdout] for name, rows in users.items()}
    while True:
        reviewers = Counter(row["asin"] for rows in base.values() for row in rows)
        thinner = {
            name: [row for row in rows if reviewers[row["asin"]] >= rules.min_profile_item_reviewers]
            for name, rows in base.items()
        }
        thinner = {name: rows for name, rows in thinner.items() if len(rows) >= rules.min_profile_reviews}
        if thinner == base:
            break
        base = thinner
    splits: dict[str, list] = {"train": [], "val": [], "test": []}
    for name in sorted(base):
        inputs = users[name][len(users[name]) - rules.holdout :]
        for number, target in enumerate(inputs):
            from_end = rules.holdout - number
            split = {1: "test", 2: "val"}.get(from_end, "train")
            splits[split].append((name, [_plain(row) for row in base[name] + inputs[:number]], _plain(target)))
    kept = {row["asin"] for name in base for row in base[name] + users[name][-rules.holdout :]}
    return {"splits": splits, "items": sorted(kept)}


def _is_good_item(row: dict, rules: Rules) -> bool:
    description = " ".join(row["description"])
    if not row["title"]:
        return False
    if not description.split():
        return rules.min_description_chars == 0
    return rules.min_description_chars <= len(description) <= rules.max_description_chars


def _in_turn(rows: list[dict], is_item_kept, is_user_kept) -> list[dict]:
    while True:
        before = len(rows)
        reviewers = Counter(row["asin"] for row in rows)
        rows = [row for row in rows if is_item_kept(reviewers[row["asin"]])]
        activity = Counter(row["user_id"] for row in rows)
        rows = [row for row in rows if is_user_kept(activity[row["user_id"]])]
        if len(rows) == before:
            return rows


def _plain(row: dict) -> tuple:
    return row["asin"], row["timestamp"], " ".join(row["text"].split()), " ".join(row["title"].split())


def built(folder: Path) -> dict[str, Any]:
    """What a built dataset holds, in the form of `plain_build`."""

    def plain(review: dict) -> tuple:
        return tuple(review[name] for name in ("item_id", "timestamp", "text", "title"))

    splits = {
        split: [
            (row["user_id"], [plain(review) for review in row["profile"]], plain(row["target"]))
            for row in read_split(folder, split)
        ]
        for split in ("train", "val", "test")
    }
    return {"splits": splits, "items": [row["item_id"] for row in read_items(folder)]}
