"""`drp-ray data describe`: a dataset in numbers, what a job will lack in it, and what it should not see.

Ids are counted on DuckDB. Texts are read twice, a row group at a time: the targets, of which hashes are kept, and then
the profiles, by tasks of Ray Data, each compared with all targets.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.table import Table

from drp_ray.config import DocumentField, Retrieval
from drp_ray.data.apply_rules import open_database
from drp_ray.data.extract import collapsed, text_hash
from drp_ray.data.figures import SplitFigures, as_text, category_of, figures_table
from drp_ray.data.layout import read_json
from drp_ray.data.shingles import References, shingle
from drp_ray.data.tasks import run_on_ray
from drp_ray.inputs.dataset import SPLITS, Dataset, RowGroup
from drp_ray.running.cluster import connect
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import MANIFEST

LARGE_PROFILE = 500
EXAMPLES = 3


@dataclass(frozen=True)
class Questions:
    """What a job will ask of the dataset: N past reviews, K representatives, the query; and what counts as near."""

    n: int = 8
    k: int = 4
    query: tuple[DocumentField, ...] = Retrieval().query
    near: float = 0.7
    memory_gb: float = 2.0
    scratch: str | None = None
    num_cpus: int | None = None


@dataclass(frozen=True)
class Targets:
    """The texts to be written, as hashes: `users[i]` wrote reference `i`; `exact` are sorted, `order` finds them."""

    users: list[str]
    exact: np.ndarray
    order: np.ndarray
    near: References


@dataclass
class Leaks:
    """Rows whose target's text is found elsewhere, by kind, and users to look at."""

    rows: dict[str, set[int]] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)


KINDS = {
    "own, exact": "target's text in the user's own profile",
    "own, near": "target's text nearly in the user's own profile",
    "peers, exact": "target's text in another user's profile",
    "peers, near": "target's text nearly in another user's profile",
}


def describe(folder: Folder, parent: Folder, questions: Questions) -> str:
    """The figures, the coverage and the leakage of a dataset, or of one split of it, as tables.

    Raises:
        BadInput: there is no dataset, or it is not finished.
    """
    datasets = _splits(folder, parent)
    manifest = read_json(folder, MANIFEST) or {}
    category = manifest.get("category") or category_of([folder.uri.rpartition("/")[2]])
    tables: list[Any] = []
    figures = {}
    with connect(questions.num_cpus) as ray:
        for name, dataset in datasets.items():
            figures[name], leaks = _compare(ray, dataset, questions)
            tables += [_coverage(name, dataset, questions, leaks)]
    items = sum(rows.num_rows for rows in next(iter(datasets.values())).read_catalogue())
    return as_text([figures_table(figures, items, manifest.get("reviews"), category), *tables])


def _splits(folder: Folder, parent: Folder) -> dict[str, Dataset]:
    """The splits of a dataset by name; a folder with users is one split, called as it is or "test"."""
    found = {name: folder.at(name) for name in SPLITS if folder.at(name, "users").entries()}
    if found:
        return {name: Dataset.open(split, folder) for name, split in found.items()}
    name = folder.uri.rpartition("/")[2]
    return {name if name in SPLITS else "test": Dataset.open(folder, parent)}


def _compare(ray: Any, dataset: Dataset, questions: Questions) -> tuple[SplitFigures, Leaks]:
    """Compare every profile with every target."""
    targets = ray.put(_targets(dataset, questions.near))
    groups = dataset.row_groups()
    starts = np.cumsum([0, *(group.rows for group in groups)]).tolist()
    tasks = [
        {"file": group.file, "index": group.index, "rows": group.rows, "first_row": start}
        for group, start in zip(groups, starts, strict=False)
        if group.rows
    ]
    figures, leaks = [], Leaks()
    for row in run_on_ray(tasks, compare_group, {"dataset": dataset, "targets": targets}):
        figures.append(SplitFigures.from_json(json.loads(row["figures"])))
        for kind, found in json.loads(row["leaks"]).items():
            leaks.rows.setdefault(kind, set()).update(found)
    users = ray.get(targets).users
    for kind, rows in leaks.rows.items():
        leaks.users[kind] = [users[row] for row in sorted(rows)[:EXAMPLES]]
    return SplitFigures.sum(figures), leaks


def _targets(dataset: Dataset, near: float) -> Targets:
    users: list[str] = []
    texts: list[pa.Array] = []
    exact: list[int] = []
    for rows in _columns(dataset, ["user_id", "target"]):
        users += rows["user_id"].to_pylist()
        texts.append(pc.struct_field(rows["target"], "text").combine_chunks())
        exact += [text_hash(collapsed(text)) for text in texts[-1].to_pylist()]
    hashes = np.array(exact, np.int64)
    order = np.argsort(hashes, kind="stable")
    references = References.of(shingle(pa.concat_arrays([text.cast(pa.string()) for text in texts])), near)
    return Targets(users, hashes[order], order, references)


def _columns(dataset: Dataset, columns: list[str]) -> Iterator[pa.Table]:
    for group in dataset.row_groups():
        with dataset.users.open(group.file) as file:
            yield pq.ParquetFile(file).read_row_group(group.index, columns=columns)


def compare_group(batch: pa.Table, dataset: Dataset, targets: Any) -> pa.Table:
    """A task of Ray Data: the figures of a row group, and the rows whose target is found in its profiles, by kind."""
    import ray

    (task,) = batch.to_pylist()
    first_row = task.pop("first_row")
    wanted: Targets = ray.get(targets)
    users = dataset.read_users(RowGroup(**task))
    profiles = users["profile"].combine_chunks()
    owners = pc.list_parent_indices(profiles).to_numpy()
    ids = users["user_id"].to_pylist()
    texts = pc.struct_field(pc.list_flatten(profiles), "text")
    exact = set(_equal(texts, wanted))
    near = set(wanted.near.near(shingle(texts))) - exact
    leaks: dict[str, set[int]] = {}
    for likeness, pairs in (("exact", exact), ("near", near)):
        for text, row in pairs:
            owner = int(owners[text])
            if first_row + owner == row:
                leaks.setdefault(f"own, {likeness}", set()).add(row)
            elif ids[owner] != wanted.users[row]:
                leaks.setdefault(f"peers, {likeness}", set()).add(row)
    told = {kind: sorted(rows) for kind, rows in leaks.items()}
    return pa.table({"figures": [json.dumps(SplitFigures.of(users).to_json())], "leaks": [json.dumps(told)]})


def _equal(texts: pa.Array, wanted: Targets) -> Iterator[tuple[int, int]]:
    hashes = np.array([text_hash(collapsed(text)) for text in texts.to_pylist()], np.int64)
    low = np.searchsorted(wanted.exact, hashes, "left")
    high = np.searchsorted(wanted.exact, hashes, "right")
    for text in np.flatnonzero(high > low).tolist():
        for position in range(low[text], high[text]):
            yield text, int(wanted.order[position])


def _coverage(name: str, dataset: Dataset, questions: Questions, leaks: Leaks) -> Table:
    with (
        tempfile.TemporaryDirectory(prefix="drp-ray-", dir=questions.scratch) as scratch,
        open_database(Path(scratch), questions.memory_gb) as database,
    ):
        _load_ids(database, dataset)
        lines = _counted(database, questions)
    rows = lines.pop("rows")[0]
    table = Table(f"{name}: coverage and leakage", "rows", "share", "of", "for example")
    for text, (count, of) in lines.items():
        share = f"{count / of:.2%}" if of else ""
        table.add_row(text, f"{count:,}", share, f"{of:,}", "")
    for kind, text in KINDS.items():
        count = len(leaks.rows.get(kind, ()))
        text = f"{text} (Jaccard ≥ {questions.near:g})" if "near" in kind else text
        share = f"{count / rows:.2%}" if rows else ""
        table.add_row(text, f"{count:,}", share, f"{rows:,}", ", ".join(leaks.users.get(kind, [])))
    return table


def _load_ids(database: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    database.execute(
        """create table targets
           (row_number bigint, user_id varchar, item_id varchar, timestamp bigint, has_title boolean)"""
    )
    database.execute("create table profiles (row_number bigint, user_id varchar, item_id varchar, timestamp bigint)")
    database.execute("create table items (item_id varchar, has_title boolean, has_description boolean)")
    first_row = 0
    for group in dataset.row_groups():
        users = dataset.read_users(group)
        rows = pa.array(range(first_row, first_row + group.rows), pa.int64())
        first_row += group.rows
        target = users["target"].combine_chunks()
        profiles = users["profile"].combine_chunks()
        owners = pc.list_parent_indices(profiles)
        reviews = pc.list_flatten(profiles)
        ids = users["user_id"].combine_chunks()
        _insert(database, "targets", [rows, ids, *_fields(target), _has_words(pc.struct_field(target, "title"))])
        _insert(database, "profiles", [rows.take(owners), ids.take(owners), *_fields(reviews)])
    for items in dataset.read_catalogue():
        words = [_has_words(items[column].combine_chunks()) for column in ("title", "description")]
        _insert(database, "items", [items["item_id"].combine_chunks(), *words])


def _fields(reviews: pa.StructArray) -> list[pa.Array]:
    return [pc.struct_field(reviews, name) for name in ("item_id", "timestamp")]


def _has_words(texts: pa.Array) -> pa.Array:
    return pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(texts), ""), False)


def _insert(database: duckdb.DuckDBPyConnection, table: str, columns: list[pa.Array]) -> None:
    database.register("batch", pa.table({f"c{number}": column for number, column in enumerate(columns)}))
    database.execute(f"insert into {table} select * from batch")


QUERY_FIELDS: Mapping[str, str] = {
    "item_title": "items.has_title",
    "item_description": "items.has_description",
    "review_title": "targets.has_title",
}


def _counted(database: duckdb.DuckDBPyConnection, questions: Questions) -> dict[str, tuple[int, int]]:
    """What a job will lack: how many, and of how many."""

    def one(query: str) -> int:
        (found,) = database.execute(query).fetchall()
        return int(found[0] or 0)

    database.execute(
        """create table reviewers as
           select item_id, count(distinct user_id) as reviewers from profiles group by item_id"""
    )
    database.execute(
        """create table sizes as
           select row_number, count(profiles.item_id) as reviews,
                  count(distinct case when reviewers > $k then profiles.item_id end) as eligible
           from targets left join profiles using (row_number)
                left join reviewers on reviewers.item_id = profiles.item_id
           group by row_number""",
        {"k": questions.k},
    )
    rows, items = one("select count(*) from targets"), one("select count(*) from reviewers")
    asked = " or ".join(QUERY_FIELDS[name] for name in questions.query)
    database.execute(NEWER_PEERS)
    return {
        "rows": (rows, rows),
        "empty profiles": (one("select count(*) from sizes where reviews = 0"), rows),
        f"profiles of more than {LARGE_PROFILE} reviews": (
            one(f"select count(*) from sizes where reviews > {LARGE_PROFILE}"),
            rows,
        ),
        f"users with fewer than {questions.n} items that {questions.k} others reviewed": (
            one(f"select count(*) from sizes where eligible < {questions.n}"),
            rows,
        ),
        f"items in profiles with fewer than {questions.k + 1} reviewers": (
            one(f"select count(*) from reviewers where reviewers < {questions.k + 1}"),
            items,
        ),
        "empty queries": (
            one(f"select count(*) from targets left join items using (item_id) where not coalesce({asked}, false)"),
            rows,
        ),
        "peers' reviews newer than the target": (
            one("select sum(newer) from newer_peers"),
            one("select sum(peers) from newer_peers"),
        ),
        "users who would see such a review": (
            one("select count(*) from (select row_number from newer_peers group by row_number having sum(newer) > 0)"),
            rows,
        ),
    }


NEWER_PEERS = """
    create table newer_peers as
    select row_number, reviews_of_item - own as peers, reviews_of_item - not_newer - own_newer as newer
    from (
        select row_number, is_review, own, own_newer,
               count(*) filter (is_review) over (partition by item_id) as reviews_of_item,
               count(*) filter (is_review) over (
                   partition by item_id order by timestamp range between unbounded preceding and current row
               ) as not_newer
        from (
            select distinct item_id, user_id, timestamp, true as is_review, 0::bigint as row_number,
                   0::bigint as own, 0::bigint as own_newer
            from profiles
            union all
            select profiles.item_id, targets.user_id, targets.timestamp, false as is_review, row_number,
                   count(distinct profiles.timestamp) as own,
                   count(distinct profiles.timestamp) filter (profiles.timestamp > targets.timestamp) as own_newer
            from profiles join targets using (row_number)
            group by profiles.item_id, targets.user_id, targets.timestamp, row_number
        )
    ) where not is_review"""
"""For every row and item of its profile: how many reviews others wrote of it, and how many after the row's target.

One pass in time order over every item's reviews and requests.
"""
