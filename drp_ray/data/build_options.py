"""What every build can be given besides its input and its rules."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BuildOptions:
    """Which damage is accepted, how much is read, held and written at once, and where DuckDB spills."""

    max_bad_rows: float = 0.001
    allow_truncated: bool = False
    memory_gb: float = 2.0
    chunk_bytes: int = 32 << 20
    reviews_per_part: int = 8192
    scratch: str | None = None
    num_cpus: int | None = None
