"""Parquet files that say in their footer what they are: written in one step, equal rows as equal bytes."""

import io
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import FACTS_KEY

FOOTER_READERS = 16


def write_table(folder: Folder, name: str, rows: pa.Table, told: Mapping[str, Any]) -> None:
    """Write a table with what is told of it."""
    rows = rows.combine_chunks().replace_schema_metadata({FACTS_KEY: json.dumps(told, sort_keys=True)})
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd", row_group_size=max(rows.num_rows, 1))
    folder.write(name, sink.getvalue())


def read_told(folder: Folder, names: Iterable[str]) -> dict[str, Any]:
    """What the named files tell of themselves, by name."""
    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        return dict(pool.map(lambda name: (name, _footer(folder, name)), sorted(names)))


def _footer(folder: Folder, name: str) -> Any:
    with folder.open(name) as file:
        return json.loads(pq.read_metadata(file).metadata[FACTS_KEY])
