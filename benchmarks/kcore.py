"""The thresholds of items and users in turn, on (user, item) pairs: DuckDB against Ray Data.

    python -m benchmarks.kcore [--pairs 1000000]

The pairs are long-tailed, as `benchmarks/raw_reviews.py` draws them, and lie in one Parquet file. DuckDB's time is that
of all rules, joins and ties included; Ray Data's that of the counting in turn alone, on a Ray that is up already.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.raw_reviews import ITEM_STEEPNESS, ITEMS_PER_REVIEW, USER_STEEPNESS, USERS_PER_REVIEW, long_tailed
from drp_ray.data import rules
from drp_ray.data.apply_rules import RuleFilter
from drp_ray.data.database import open_database
from drp_ray.data.rules import Rules
from drp_ray.running.cluster import connect

RULES = Rules()


def main() -> None:
    """Measure both on the same pairs, see that they agree, and print the ratio last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    count = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "pairs.parquet"
        pq.write_table(make_pairs(count), file, row_group_size=250_000)
        began = time.monotonic()
        left = on_duckdb(file, Path(scratch))
        duckdb_s = time.monotonic() - began
        print(f"DuckDB, all rules: {duckdb_s:.1f} s, {left:,} of {count:,} pairs left", flush=True)
        with connect(os.cpu_count()) as ray:
            began = time.monotonic()
            ray_left, rounds = on_ray_data(ray, file)
            ray_s = time.monotonic() - began
    print(f"Ray Data, {rounds} rounds of counting: {ray_s:.1f} s, {ray_left:,} pairs left")
    assert left == ray_left
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load {os.getloadavg()}")
    print(f"ratio {ray_s / duckdb_s:.1f}")


def make_pairs(count: int) -> pa.Table:
    """Distinct pairs of a user and an item, as the ids of reviews."""
    rng = np.random.default_rng(0)
    users = long_tailed(rng, int(count * USERS_PER_REVIEW), 2 * count, USER_STEEPNESS)
    items = long_tailed(rng, int(count * ITEMS_PER_REVIEW), 2 * count, ITEM_STEEPNESS)
    pairs = np.unique(np.stack([users, items], axis=1), axis=0)
    pairs = pairs[np.sort(rng.permutation(len(pairs))[:count])]
    rows = pa.array(np.arange(len(pairs)))
    return pa.table(
        {
            "row_id": rows,
            "user_id": [f"A{user:027d}" for user in pairs[:, 0].tolist()],
            "item_id": [f"B{item:09d}" for item in pairs[:, 1].tolist()],
            "timestamp": rows,
            "text_hash": rows,
        }
    )


def on_duckdb(file: Path, scratch: Path) -> int:
    """The pairs that the item and user thresholds leave."""
    with open_database(str(scratch), 2.0) as database:
        rule_filter = RuleFilter(database, RULES)
        parquet = pq.ParquetFile(file)
        groups = range(parquet.metadata.num_row_groups)
        rule_filter.apply(
            (parquet.read_row_group(group) for group in groups),
            (
                rows.append_column("problem", pa.nulls(len(rows), pa.string()))
                for rows in (parquet.read_row_group(group, ["row_id", "item_id"]) for group in groups)
            ),
        )
    return next(drop.left for drop in rule_filter.drops if drop.rule == rules.USER_ACTIVITY)


def on_ray_data(ray: Any, file: Path) -> tuple[int, int]:
    """The pairs that the thresholds leave, and the rounds that it took."""
    pairs = ray.data.read_parquet(str(file)).select_columns(["user_id", "item_id"]).materialize()
    left, rounds = pairs.count(), 0
    while True:
        before = left
        rounds += 1
        for column, low, high in (
            ("item_id", RULES.min_item_reviewers, None),
            ("user_id", RULES.min_user_reviews, RULES.max_user_reviews),
        ):
            counts = pa.concat_tables(ray.get(pairs.groupby(column).count().to_arrow_refs()))
            kept = pc.greater_equal(counts["count()"], low)
            if high is not None:
                kept = pc.and_(kept, pc.less_equal(counts["count()"], high))
            staying = ray.put(counts.filter(kept)[column].combine_chunks())
            pairs = pairs.map_batches(
                keep, batch_size=None, batch_format="pyarrow", fn_kwargs={"column": column, "staying": staying}
            ).materialize()
        left = pairs.count()
        if left == before:
            return left, rounds


def keep(batch: pa.Table, column: str, staying: Any) -> pa.Table:
    """The rows whose value of a column stays."""
    import ray

    return batch.filter(pc.is_in(batch[column], value_set=ray.get(staying)))


if __name__ == "__main__":
    main()
