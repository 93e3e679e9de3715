"""Ray Data plans over small tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import ray


def one_block_each(rows: Sequence[Mapping[str, Any]]) -> ray.data.Dataset:
    """A dataset with one row a block, so that every row is a task of its own."""
    return ray.data.from_items([dict(row) for row in rows], override_num_blocks=len(rows))


def start_ray_data() -> None:
    """Let Ray Data start its own actors and a worker, which takes it seconds, while something else is waited for."""
    one_block_each([{"row": 0}]).map(lambda row: row).materialize()
