"""A file as the listing of a folder names it, on a disk or in a bucket."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """A file of a folder: its name, its size in bytes and, where the store keeps one, a tag of its content.

    `written_s` is when it was written, in seconds since 1970; a copy has a time of its own.
    """

    name: str
    size: int
    tag: str | None = None
    written_s: float | None = field(default=None, compare=False)
