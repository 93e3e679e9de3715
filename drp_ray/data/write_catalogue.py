"""The catalogue of a dataset: the items that it names, in the order of their ids."""

import duckdb

from drp_ray import schema
from drp_ray.data.footers import write_with_footer
from drp_ray.data.layout import Destination, delete_others
from drp_ray.data.shuffle import (
    ShuffleFolders,
    finished_parts,
    gather,
    part_written,
    place_items,
    plan_shuffle,
    shuffle,
)
from drp_ray.data.task_runner import Progress, Task, TaskRunner
from drp_ray.running.cluster import Say
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import part_name


def write_catalogue(runner: TaskRunner, database: duckdb.DuckDBPyConnection, destination: Destination, say: Say) -> int:
    """Write the items of table `catalogue` (`item`, `row_id`) from the chunks of metadata; how many there are."""
    place_items(database)
    work = destination.work
    plan = plan_shuffle(database, ShuffleFolders(work("meta"), work("item-routes"), work("item-routed")))
    done = finished_parts(destination, [destination.items])
    arguments = {"destination": destination}
    parts = shuffle(runner, plan, _write_items, arguments, done, Progress("Writing items", say))
    delete_others(destination.items, set(parts))
    return sum(footer["rows"] for footer in parts.values())


def _write_items(gathering: Task, destination: Destination, routed: Folder) -> list[Task]:
    """A task: write a part of the catalogue."""
    rows = gather(gathering, routed).select(schema.CATALOGUE.names)
    footer = {"fingerprint": destination.fingerprint, "rows": rows.num_rows}
    name = part_name(gathering["part"])
    write_with_footer(destination.items, name, rows, footer)
    return part_written(name, footer)
