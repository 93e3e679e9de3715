"""Say which model a name stands for, in a form that a fingerprint can hold."""

import hashlib
from pathlib import Path
from typing import Any

WHOLE_FILE_BYTES = 16 * 2**20
"""Larger files (weights) are told apart by their size, their first bytes and their last ones."""

SAMPLED_BYTES = 2**20


def model_identity(model_id: str, revision: str | None) -> dict[str, Any]:
    """A hub id and its revision; or, for a local folder, a digest of what is in it, wherever it lies."""
    folder = Path(model_id)
    if not folder.is_dir():
        return {"id": model_id, "revision": revision}
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        digest.update(_sample(path))
    return {"folder": digest.hexdigest()[:32]}


def _sample(path: Path) -> bytes:
    if path.stat().st_size <= WHOLE_FILE_BYTES:
        return path.read_bytes()
    with path.open("rb") as file:
        first = file.read(SAMPLED_BYTES)
        file.seek(-SAMPLED_BYTES, 2)
        return first + file.read()
