"""The data blocks of a page: documents in base64, after everything that the page needs to be usable."""

import base64
import tempfile
from collections.abc import Iterator
from typing import IO, NamedTuple

BLOCK_CHARACTERS = 2**20
"""A block ends when it has so many characters: the browser reads one block to show one user."""


class Address(NamedTuple):
    """The block of a document, where it begins there, and its characters."""

    block: int
    start: int
    length: int


class Blocks:
    """Blocks in a temporary file, until the page is written."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._sizes = [0]

    def add(self, data: bytes) -> Address:
        """Add a document."""
        encoded = base64.b64encode(data)
        if self._sizes[-1] >= BLOCK_CHARACTERS:
            self._sizes.append(0)
        address = Address(len(self._sizes) - 1, self._sizes[-1], len(encoded))
        self._file.write(encoded)
        self._sizes[-1] += len(encoded)
        return address

    def __iter__(self) -> Iterator[bytes]:
        """The blocks, one after the other."""
        self._file.seek(0)
        for size in self._sizes:
            yield self._file.read(size)

    @property
    def characters(self) -> int:
        """Of all blocks together."""
        return sum(self._sizes)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __enter__(self) -> "Blocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
