"""What became of a part, as a row that Ray Data carries to the driver: what was committed, or why it failed.

It travels as text: the facts of two stages differ in their names, and of an exception Ray Data keeps only the text.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from drp_ray.errors import BadInput, JobFailed
from drp_ray.storage.parts import Committed


def committed_row(committed: Committed) -> dict[str, str]:
    """The row of a committed part."""
    return {"committed": json.dumps(asdict(committed)), "failure": ""}


def committed_table(committed: Committed) -> pa.Table:
    """The row of a committed part as a table, for functions that map groups to tables."""
    return pa.Table.from_pylist([committed_row(committed)])


@contextmanager
def failed_part_as_row() -> Iterator[dict[str, str]]:
    """Yield a row to fill in; a failure that a person can act on becomes the row of that failure."""
    outcome: dict[str, str] = {}
    try:
        yield outcome
    except (BadInput, JobFailed) as error:
        outcome |= {"committed": "", "failure": json.dumps([type(error).__name__, str(error)])}


def committed_in(row: Mapping[str, Any]) -> Committed:
    """The committed part that a row is about.

    Raises:
        BadInput, JobFailed: the part failed so.
    """
    if row["failure"]:
        kind, message = json.loads(row["failure"])
        raise (BadInput if kind == BadInput.__name__ else JobFailed)(message)
    return Committed(**json.loads(row["committed"]))
