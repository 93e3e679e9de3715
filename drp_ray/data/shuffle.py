"""Bring the wanted rows of many files into parts: a shuffle through storage, which needs no more memory than a part.

What goes where is decided on ids, in DuckDB (`place_reviews`, `place_items`, `plan_shuffle`). Then every task of a
first step takes some neighbouring chunks, leaves out what is not wanted and writes the rest ordered by part (`_route`).
Every task of a second step writes one part, from the rows of that part in those files (`_gather`).
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray.data.extract import CHUNK_BITS, LINE_BITS, chunk_name
from drp_ray.data.footers import Footer, read_footers, write_with_footer
from drp_ray.data.layout import Destination
from drp_ray.data.task_runner import Progress, Task, TaskRunner
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import part_name

ROWS_PER_ROUTE = 100_000
ITEMS_PER_PART = 20_000

WritePart = Callable[[str, pa.Table], Footer]
"""Writes a part of this name from its rows, which are in the order of `position`; the footer that it wrote."""


@dataclass(frozen=True)
class ShuffleFolders:
    """Where chunks are, where the routes of their rows are written, and where the routed rows."""

    chunks: Folder
    routes: Folder
    routed: Folder


@dataclass(frozen=True)
class Route:
    """What one task of the first step does: `name` its file, `chunks` the files that it reads."""

    name: str
    chunks: list[str]


@dataclass(frozen=True)
class RoutedBatch:
    """A record batch in a file of routed rows: all of the file's rows for one part."""

    file: str
    number: int


@dataclass(frozen=True)
class Gathering:
    """What one task of the second step reads."""

    part: int
    batches: list[RoutedBatch]


@dataclass(frozen=True)
class ShufflePlan:
    """The tasks of both steps."""

    folders: ShuffleFolders
    routes: list[Route]
    gatherings: list[Gathering]


def place_reviews(database: duckdb.DuckDBPyConnection, reviews_per_part: int) -> None:
    """Give the reviews of table `kept` a part and a position in it: table `placed` (`row_id`, `part`, `position`).

    Users are in the order of their ids, each one's reviews in time order. A user is never split: a new part begins with
    the first user after a part has enough reviews.
    """
    database.execute(
        f"""create or replace table placed as
            select row_id, part, row_number() over (partition by part order by "user", kept.position) as position
            from kept join (
                select "user", (dense_rank() over (order by before // {reviews_per_part}) - 1)::integer as part
                from (select "user", sum(count(*)) over (order by "user") - count(*) as before
                      from kept group by "user")
            ) using ("user")"""
    )


def place_items(database: duckdb.DuckDBPyConnection) -> None:
    """Give the items of table `catalogue` a part and a position, in the order of their ids: table `placed`."""
    database.execute(
        f"""create or replace table placed as
            select row_id, (place // {ITEMS_PER_PART})::integer as part, place as position
            from (select row_id, row_number() over (order by item) - 1 as place from catalogue)"""
    )


def plan_shuffle(database: duckdb.DuckDBPyConnection, folders: ShuffleFolders) -> ShufflePlan:
    """Write for every route where the rows of its chunks go, as table `placed` has it; what there is to do."""
    database.execute(
        f"""create or replace table routes as
            select row_id, part, position, route
            from placed join (
                select chunk, (dense_rank() over (order by before // {ROWS_PER_ROUTE}) - 1)::integer as route
                from (select chunk, sum(count(*)) over (order by chunk) - count(*) as before
                      from (select row_id >> {LINE_BITS} as chunk from placed) group by chunk)
            ) on chunk = row_id >> {LINE_BITS}"""
    )
    routes, gatherings = _plan_routes(database), _plan_gatherings(database)
    for number, route in enumerate(routes):
        query = f"select row_id, part, position from routes where route = {number} order by row_id"
        write_with_footer(folders.routes, f"{route.name}.parquet", database.sql(query).to_arrow_table(), {})
    database.execute("drop table routes")
    return ShufflePlan(folders, routes, gatherings)


def _plan_routes(database: duckdb.DuckDBPyConnection) -> list[Route]:
    """The routes in the order of their numbers, which are also in the order of the chunks."""
    query = f"select distinct route, row_id >> {LINE_BITS} as chunk from routes order by chunk"
    routes: dict[int, Route] = {}
    for number, chunk in database.execute(query).fetchall():
        name = chunk_name(chunk >> CHUNK_BITS, chunk & ((1 << CHUNK_BITS) - 1))
        routes.setdefault(number, Route(_route_name(number), [])).chunks.append(name)
    return list(routes.values())


def _plan_gatherings(database: duckdb.DuckDBPyConnection) -> list[Gathering]:
    query = """select part, route, (dense_rank() over (partition by route order by part) - 1)::integer as batch
               from (select distinct part, route from routes) order by part, route"""
    gatherings: dict[int, Gathering] = {}
    for part, route, batch in database.execute(query).fetchall():
        routed = RoutedBatch(f"{_route_name(route)}.arrow", batch)
        gatherings.setdefault(part, Gathering(part, [])).batches.append(routed)
    return list(gatherings.values())


def _route_name(number: int) -> str:
    return f"route-{number:05d}"


def shuffle(
    runner: TaskRunner, plan: ShufflePlan, done: Mapping[str, Footer], write: WritePart, progress: Progress
) -> dict[str, Footer]:
    """Route, gather and write the parts that are not `done`; the footers of all parts, by name."""
    there = {entry.name for entry in plan.folders.routed.entries()}
    pending = [asdict(route) for route in plan.routes if f"{route.name}.arrow" not in there]
    for _ in runner.run(pending, _route, {"folders": plan.folders}):
        pass  # every task has written its file
    tasks = [asdict(gathering) for gathering in plan.gatherings if part_name(gathering.part) not in done]
    footers = dict(done)
    for row in runner.run(tasks, _gather, {"routed": plan.folders.routed, "write": write}):
        footers[row["name"]] = json.loads(row["footer"])
        progress.report(f"{len(footers):,} of {len(plan.gatherings):,} parts")
    return footers


def _route(route: Task, folders: ShuffleFolders) -> list[Task]:
    """A task: write one route's rows, a record batch a part."""
    with folders.routes.open(f"{route['name']}.parquet") as file:
        places = pq.read_table(file).combine_chunks()
    rows = pa.concat_tables(list(_wanted(folders.chunks, route["chunks"], places))).sort_by("part").combine_chunks()
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
        for begin, end in _runs(rows["part"].combine_chunks()):
            out.write_table(rows.slice(begin, end - begin))
    folders.routed.write(f"{route['name']}.arrow", sink.getvalue())
    return [{"rows": rows.num_rows}]


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


def _gather(gathering: Task, routed: Folder, write: WritePart) -> list[Task]:
    """A task: write a part of the rows that were routed to it."""
    found = []
    for batch in gathering["batches"]:
        with routed.open(batch["file"]) as file:
            found.append(pa.ipc.open_file(file).get_batch(batch["number"]))
    name = part_name(gathering["part"])
    footer = write(name, pa.Table.from_batches(found).sort_by("position").combine_chunks())
    return [{"name": name, "footer": json.dumps(footer)}]


def finished_parts(destination: Destination, folders: Sequence[Folder]) -> dict[str, Footer]:
    """The footers of the parts that are complete: a part is written to one folder after the other."""
    found = [read_footers(folder, [entry.name for entry in folder.entries()]) for folder in folders]
    return {
        name: footer
        for name, footer in found[0].items()
        if footer["fingerprint"] == destination.fingerprint and all(other.get(name) == footer for other in found)
    }
