"""Coverage of a dataset: what a job will lack in it, counted on ids in DuckDB."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.config import DocumentField
from drp_ray.data.database import insert_rows, open_database
from drp_ray.inputs.dataset import Dataset

LARGE_PROFILE = 500

QUERY_FIELDS: Mapping[DocumentField, str] = {
    "item_title": "items.has_title",
    "item_description": "items.has_description",
    "review_title": "targets.has_title",
}
"""Where it stands in the database whether a field of the query has words."""


class CoverageCount(NamedTuple):
    """How many rows or items there are of a kind, and of how many."""

    what: str
    found: int
    of: int


def count_coverage(
    dataset: Dataset, n: int, k: int, query: Sequence[DocumentField], scratch: str | None, memory_gb: float
) -> list[CoverageCount]:
    """Count what a job lacks in a dataset that retrieves `n` past reviews and compares with `k` representatives."""
    with open_database(scratch, memory_gb) as database:
        _load_ids(database, dataset)
        return _counts(database, n, k, query)


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
        ids = pa.table({"row_number": range(first_row, first_row + group.rows), "user_id": users["user_id"]})
        first_row += group.rows
        targets, profiles = users["target"].combine_chunks(), users["profile"].combine_chunks()
        has_title = _has_words(pc.struct_field(targets, "title"))
        insert_rows(database, "targets", _with_review(ids, targets).append_column("has_title", has_title))
        owners = ids.take(pc.list_parent_indices(profiles))
        insert_rows(database, "profiles", _with_review(owners, pc.list_flatten(profiles)))
    for items in dataset.read_catalogue():
        words = {f"has_{column}": _has_words(items[column]) for column in ("title", "description")}
        insert_rows(database, "items", pa.table({"item_id": items["item_id"], **words}))


def _with_review(rows: pa.Table, reviews: pa.StructArray) -> pa.Table:
    for name in ("item_id", "timestamp"):
        rows = rows.append_column(name, pc.struct_field(reviews, name))
    return rows


def _has_words(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(texts), ""), False)


def _counts(database: duckdb.DuckDBPyConnection, n: int, k: int, query: Sequence[DocumentField]) -> list[CoverageCount]:
    def one(statement: str) -> int:
        (found,) = database.execute(statement).fetchall()
        return int(found[0] or 0)

    def count(what: str, source: str, of: int) -> CoverageCount:
        return CoverageCount(what, one(f"select count(*) from {source}"), of)

    database.execute(REVIEWERS)
    database.execute(SIZES, {"k": k})
    database.execute(NEWER_PEERS)
    rows, items = one("select count(*) from targets"), one("select count(*) from reviewers")
    newer, peers = one("select sum(newer) from newer_peers"), one("select sum(peers) from newer_peers")
    has_query = " or ".join(QUERY_FIELDS[name] for name in query)
    no_query = f"targets left join items using (item_id) where not coalesce({has_query}, false)"
    with_newer = "(select row_number from newer_peers group by row_number having sum(newer) > 0)"
    return [
        count("empty profiles", "sizes where reviews = 0", rows),
        count(f"profiles of more than {LARGE_PROFILE} reviews", f"sizes where reviews > {LARGE_PROFILE}", rows),
        count(f"users with fewer than {n} items that {k} others reviewed", f"sizes where eligible < {n}", rows),
        count(f"items in profiles with fewer than {k + 1} reviewers", f"reviewers where reviewers < {k + 1}", items),
        count("empty queries", no_query, rows),
        CoverageCount("peers' reviews newer than the target", newer, peers),
        count("users who would see such a review", with_newer, rows),
    ]


REVIEWERS = """
    create table reviewers as select item_id, count(distinct user_id) as reviewers from profiles group by item_id"""
SIZES = """
    create table sizes as
    select row_number, count(profiles.item_id) as reviews,
           count(distinct case when reviewers > $k then profiles.item_id end) as eligible
    from targets left join profiles using (row_number)
         left join reviewers on reviewers.item_id = profiles.item_id
    group by row_number"""
"""For every row: the reviews in its profile, and the items in it that K other users reviewed."""

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
