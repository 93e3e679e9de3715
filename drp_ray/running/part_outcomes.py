"""What became of a part, as a row that travels to the driver: what was committed, or why it failed.

Ray Data carries those of shuffles, and the monitor all others. It is text, since the facts of two stages differ in
their names.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from drp_ray.errors import BadInput, JobFailed, StageFailed
from drp_ray.storage.parts import Committed


def committed_row(committed: Committed) -> dict[str, str]:
    """The row of a committed part."""
    return {"committed": json.dumps(asdict(committed)), "failure": ""}


def committed_table(committed: Committed) -> pa.Table:
    """The row of a committed part as a table, for functions that map groups to tables."""
    return pa.Table.from_pylist([committed_row(committed)])


_KINDS = (StageFailed, BadInput, JobFailed)


def failed_row(failure: BadInput | JobFailed, of_all: bool = False) -> dict[str, str]:
    """The row of a failure that a person can act on; `of_all` where it is that of all stages that share workers."""
    kind = next(kind for kind in (_KINDS[1:] if of_all else _KINDS) if isinstance(failure, kind))
    return {"committed": "", "failure": json.dumps([kind.__name__, str(failure)])}


def fails_all(row: Mapping[str, Any]) -> bool:
    """Whether a row says that no stage that shares these workers can go on."""
    return bool(row.get("failure")) and not fails_its_stage(row)


def fails_its_stage(row: Mapping[str, Any]) -> bool:
    """Whether a row says that its stage fails, and nothing of other stages."""
    failure = row.get("failure") or "[null]"
    return bool(json.loads(failure)[0] == StageFailed.__name__)


@contextmanager
def failed_part_as_row() -> Iterator[dict[str, str]]:
    """Yield a row to fill in; a failure that a person can act on becomes the row of that failure."""
    outcome: dict[str, str] = {}
    try:
        yield outcome
    except (BadInput, JobFailed) as error:
        outcome |= failed_row(error)


def committed_in(row: Mapping[str, Any]) -> Committed:
    """The committed part that a row is about.

    Raises:
        BadInput, JobFailed, StageFailed: the part failed so.
    """
    if row["failure"]:
        name, message = json.loads(row["failure"])
        raise next(kind for kind in _KINDS if kind.__name__ == name)(message)
    return Committed(**json.loads(row["committed"]))
