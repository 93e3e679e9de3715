"""A file as the listing of a folder names it, on a disk or in a bucket."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file of a folder: its name, its size in bytes and, where the store keeps one, a tag of its content."""

    name: str
    size: int
    tag: str | None = None
