"""The work of a stage as its own code sees it: rows of an input part in, rows of an output part out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from drp_ray.storage.parts import Facts

Key = tuple[Any, ...]


class Worker(ABC):
    """The work of a stage, from the rows of an input part to the rows of the output part.

    Workers travel to other processes before they start, so they must pickle. Reading, committing, resuming,
    counting and retrying are the runner's.
    """

    schema: pa.Schema
    keys: tuple[str, ...]
    carried: tuple[str, ...] = ()
    """Facts of an output part that still hold for the rows that stay when its error rows are made again."""

    def holds(self) -> Any:
        """What `load` loads, if workers of other stages that load the same may share it; None where they may not."""
        return None

    async def load(self) -> None:  # noqa: B027 (most workers load nothing)
        """Load what can be shared and is dear to load, such as a model; `start` follows, here or in another worker."""

    def share(self, loaded: Any) -> None:  # noqa: B027 (what `holds` nothing to share is not asked to)
        """Use what another worker that holds the same has loaded (its `loaded`): `start` need not load it then."""

    def loaded(self) -> Any:
        """What `load` has loaded, for others to share."""
        return None

    async def start(self, count: Callable[..., None]) -> None:  # noqa: B027 (nor prepare anything)
        """Prepare all that the work needs, and load what was not. `count(rows=1, errors=0, …)` reports progress."""

    @abstractmethod
    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Turn an input part into an output part; `earlier` is the output that has error rows to be done again."""

    def asked(self, part: str, rows: pa.Table) -> Iterable[Key]:
        """The keys of the rows that an input part asks for; by default those of its own rows."""
        return keys_of(rows, self.keys)

    def room(self) -> int | None:
        """Rows that could be begun at once beside those under way; None where only the number of parts limits them."""
        return None

    def facts(self, rows: pa.Table) -> Facts:
        """Numbers about an output part that add up over parts."""
        return {}

    async def close(self) -> None:  # noqa: B027 (nor hold anything)
        """Free what `start` took."""


@dataclass(frozen=True)
class Pool:
    """How many workers hold a model at the same time, and what each takes of the cluster.

    A job starts where there is room for `fewest` of its stages' `replicas`. A worker has at most `parts_in_flight`
    parts at once.
    """

    replicas: int
    num_gpus: float
    num_cpus: float = 1
    parts_in_flight: int = 2
    fewest: int = 1


def keys_of(rows: pa.Table, columns: Iterable[str]) -> list[Key]:
    """The key of every row."""
    return list(zip(*(rows[column].to_pylist() for column in columns), strict=True))
