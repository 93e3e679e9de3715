"""Parquet files with a JSON footer that says what they are: written in one step, equal rows as equal bytes."""

import io
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import FACTS_KEY

FOOTER_READERS = 16

Footer = dict[str, Any]


def write_with_footer(folder: Folder, name: str, rows: pa.Table, footer: Footer) -> None:
    """Write a table and its footer."""
    rows = rows.combine_chunks().replace_schema_metadata({FACTS_KEY: json.dumps(footer, sort_keys=True)})
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd", row_group_size=max(rows.num_rows, 1))
    folder.write(name, sink.getvalue())


def read_footers(folder: Folder, names: Iterable[str]) -> dict[str, Footer]:
    """The footers of the named files, by name."""

    def read(name: str) -> tuple[str, Footer]:
        with folder.open(name) as file:
            return name, json.loads(pq.read_metadata(file).metadata[FACTS_KEY])

    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        return dict(pool.map(read, sorted(names)))
