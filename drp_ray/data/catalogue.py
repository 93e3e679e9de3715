"""The catalogue of a dataset: the items that it names, in the order of their ids."""

import json
from typing import Any

import duckdb
import pyarrow as pa

from drp_ray import schema
from drp_ray.data.layout import Target, delete_others
from drp_ray.data.placing import place_items
from drp_ray.data.routing import Routing, gather, plan_routes
from drp_ray.data.tables import write_table
from drp_ray.data.tasks import Progress, Runner, Say, parts_there, write_parts
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import part_name


def write_catalogue(runner: Runner, database: duckdb.DuckDBPyConnection, target: Target, say: Say) -> int:
    """Write the items of table `catalogue` (`item`, `row_id`) from the chunks of metadata; how many there are."""
    routing = Routing(target.work("meta"), target.work("item-routes"), target.work("item-routed"))
    plan = plan_routes(database, place_items(database), routing)
    done = parts_there(target, [target.items])
    parts = write_parts(runner, plan, routing, write_items, {"target": target}, done, Progress("Writing items", say))
    delete_others(target.items, set(parts))
    return sum(told["rows"] for told in parts.values())


def write_items(batch: pa.Table, target: Target, routed: Folder) -> pa.Table:
    """A task: write a part of the catalogue."""
    (task,) = batch.to_pylist()
    rows: Any = gather(task, routed).select(schema.CATALOGUE.names)
    told = {"fingerprint": target.fingerprint, "rows": rows.num_rows}
    name = part_name(task["part"])
    write_table(target.items, name, rows, told)
    return pa.table({"name": [name], "told": [json.dumps(told)]})
