"""The catalogue of a dataset: the items that it names, in the order of their ids."""

from functools import partial

import duckdb
import pyarrow as pa

from drp_ray import schema
from drp_ray.data.footers import Footer, write_with_footer
from drp_ray.data.layout import Destination, delete_others
from drp_ray.data.shuffle import ShuffleFolders, finished_parts, place_items, plan_shuffle, shuffle
from drp_ray.data.task_runner import Progress, TaskRunner
from drp_ray.running.cluster import Say


def write_catalogue(runner: TaskRunner, database: duckdb.DuckDBPyConnection, destination: Destination, say: Say) -> int:
    """Write the items of table `catalogue` (`item`, `row_id`) from the chunks of metadata; how many there are."""
    place_items(database)
    work = destination.work
    plan = plan_shuffle(database, ShuffleFolders(work("meta"), work("item-routes"), work("item-routed")))
    done = finished_parts(destination, [destination.items])
    write = partial(_write_items, destination=destination)
    parts = shuffle(runner, plan, done, write, Progress("Writing items", say))
    delete_others(destination.items, set(parts))
    return sum(footer["rows"] for footer in parts.values())


def _write_items(name: str, rows: pa.Table, destination: Destination) -> Footer:
    footer = {"fingerprint": destination.fingerprint, "rows": rows.num_rows}
    write_with_footer(destination.items, name, rows.select(schema.CATALOGUE.names), footer)
    return footer
