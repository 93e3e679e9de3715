"""The database of ids: DuckDB, which keeps to a limit of memory and spills the rest to disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa


@contextmanager
def open_database(scratch: str | None, memory_gb: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a temporary folder in `scratch`, removed at the end of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="drp-ray-", dir=scratch) as folder,
        duckdb.connect(f"{folder}/ids.duckdb") as database,
    ):
        database.execute(f"set memory_limit = '{memory_gb}GB'")
        database.execute(f"set temp_directory = '{folder}/spilled'")
        database.execute("set preserve_insertion_order = false")
        database.execute("set enable_progress_bar = false")
        yield database


def insert_rows(database: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Add rows to a table that has columns of the same names."""
    database.register("added", rows)
    database.execute(f"insert into {table} by name select * from added")
    database.unregister("added")
