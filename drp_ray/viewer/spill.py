"""Pieces of JSON on their way from stages' parts to the users and items that they are about.

Rows of one user lie in parts of different stages, and those of comparisons are scattered over many parts. The pieces
wait in a temporary file; only their places are in memory.
"""

import json
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a piece lies in the file, and what orders the pieces of one owner."""

    order: tuple[str | int, ...]
    start: int
    length: int


class Spill:
    """A temporary file of pieces, each with an owner. Pieces come back in the order of what orders them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._end = 0
        self._places: dict[str, list[Place]] = {}

    def add(self, owner: str, order: tuple[str | int, ...], piece: Any) -> None:
        """Keep a piece."""
        data = json.dumps(piece, ensure_ascii=False, separators=(",", ":")).encode()
        self._file.seek(self._end)
        self._file.write(data)
        self._places.setdefault(owner, []).append(Place(order, self._end, len(data)))
        self._end += len(data)

    def owners(self) -> list[str]:
        """Everyone who has a piece, in the order of their names."""
        return sorted(self._places)

    def of(self, owner: str) -> Iterator[Any]:
        """The pieces of an owner."""
        for place in sorted(self._places.get(owner, [])):
            self._file.seek(place.start)
            yield json.loads(self._file.read(place.length))

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
