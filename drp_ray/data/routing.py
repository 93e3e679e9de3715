"""Bring rows from many files together in parts, through storage: a shuffle that needs no more memory than a part.

First, every task takes some neighbouring chunks, leaves out what is not wanted and writes the rest ordered by part
(`route`). Then every task gathers one part from those files (`gather`), each of which it reads only where the part is.
Both are tasks of Ray Data; where a row goes was settled before, on ids (`plan_routes`).
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray.data.extract import CHUNK_BITS, LINE_BITS, chunk_name
from drp_ray.data.tables import write_table
from drp_ray.storage.folder import Folder

ROWS_PER_ROUTE = 100_000


@dataclass(frozen=True)
class Route:
    """What one task of the first step does: `name` its file, `chunks` the files that it reads."""

    name: str
    chunks: list[str]


@dataclass(frozen=True)
class Gathering:
    """What one task of the second step reads: of each named file the batch of that number."""

    part: int
    batches: list[tuple[str, int]]


@dataclass(frozen=True)
class Routing:
    """Where chunks are, where the routes of their rows are written, and where the routed rows."""

    chunks: Folder
    routes: Folder
    routed: Folder


def plan_routes(
    database: duckdb.DuckDBPyConnection, placed: str, routing: Routing
) -> tuple[list[Route], list[Gathering]]:
    """Write for every route which rows of its chunks go where, and say what there is to do.

    `placed` is a table with a `row_id`, a `part` and a `position` (the order within the part) for every wanted row.
    """
    database.execute(
        f"""create or replace table routes as
            select row_id, part, position, route
            from {placed} join (
                select chunk, (dense_rank() over (order by before // {ROWS_PER_ROUTE}) - 1)::integer as route
                from (select chunk, sum(count(*)) over (order by chunk) - count(*) as before
                      from (select row_id >> {LINE_BITS} as chunk from {placed}) group by chunk)
            ) on chunk = row_id >> {LINE_BITS}"""
    )
    chunks_of: dict[int, list[str]] = {}
    rows = database.execute(
        f"select distinct route, row_id >> {LINE_BITS} as chunk from routes order by chunk"
    ).fetchall()
    for route, chunk in rows:
        chunks_of.setdefault(route, []).append(chunk_name(chunk >> CHUNK_BITS, chunk & ((1 << CHUNK_BITS) - 1)))
    for route in chunks_of:
        query = f"select row_id, part, position from routes where route = {route} order by row_id"
        write_table(routing.routes, f"{_route_name(route)}.parquet", database.sql(query).to_arrow_table(), {})
    batches = database.execute(
        """select part, route, (dense_rank() over (partition by route order by part) - 1)::integer as batch
           from (select distinct part, route from routes) order by part, route"""
    ).fetchall()
    gatherings: dict[int, Gathering] = {}
    for part, route, batch in batches:
        gatherings.setdefault(part, Gathering(part, [])).batches.append((f"{_route_name(route)}.arrow", batch))
    database.execute("drop table routes")
    return [Route(_route_name(route), chunks) for route, chunks in sorted(chunks_of.items())], list(gatherings.values())


def _route_name(route: int) -> str:
    return f"route-{route:05d}"


def route(batch: pa.Table, routing: Routing) -> pa.Table:
    """A task of Ray Data: write one route's rows, a record batch a part."""
    (task,) = batch.to_pylist()
    with routing.routes.open(f"{task['name']}.parquet") as file:
        places = pq.read_table(file).combine_chunks()
    rows = pa.concat_tables(list(_wanted(routing.chunks, task["chunks"], places))).sort_by("part").combine_chunks()
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
        for begin, end in _runs(rows["part"].combine_chunks()):
            out.write_table(rows.slice(begin, end - begin))
    routing.routed.write(f"{task['name']}.arrow", sink.getvalue())
    return pa.table({"rows": [rows.num_rows]})


def _wanted(chunks: Folder, names: Sequence[str], places: pa.Table) -> Iterator[pa.Table]:
    for name in names:
        with chunks.open(name) as file:
            rows = pq.read_table(file).replace_schema_metadata(None)
        found = pc.index_in(rows["row_id"], places["row_id"].combine_chunks())
        wanted = pc.is_valid(found)
        here = found.filter(wanted)
        rows = rows.filter(wanted)
        for column in ("part", "position"):
            rows = rows.append_column(column, places[column].take(here))
        yield rows


def _runs(values: pa.Array) -> Iterator[tuple[int, int]]:
    """Where runs of equal values begin and end."""
    begin = 0
    for length in pc.run_end_encode(values).run_ends.to_pylist():
        yield begin, length
        begin = length


def gather(task: dict[str, Any], routed: Folder) -> pa.Table:
    """The rows of a part, in the order of their `position`."""
    found = []
    for batch in task["batches"]:
        with routed.open(batch["file"]) as file:
            found.append(pa.ipc.open_file(file).get_batch(batch["batch"]))
    return pa.Table.from_batches(found).sort_by("position").combine_chunks()
