"""Name a result after everything that can change it, so that different results never share a folder.

A stage's folder carries the fingerprint of its payload: its version, its settings and the fingerprints of its
inputs. The hash must therefore be the same for equal payloads in every process and on every machine. A value
that can be written in more than one way is refused: its hash would depend on chance (an object's address, for
example). A model stands in a payload by its identity: the hub id and the revision, or a digest of a local folder.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drp_ray.errors import BadInput

WHOLE_FILE_BYTES = 16 * 2**20
"""Of larger files (weights) a model's identity takes in the size and samples of the content, evenly spread."""

WEIGHT_FILES = (".gguf", ".safetensors")
"""Files that are a model by themselves. Any other file may be what an engine of a user's own wants, such as a log."""

SAMPLES = 64
SAMPLE_BYTES = 2**18


class NoStableForm(BadInput):
    """A value cannot be part of a fingerprint."""


def canonical_json(value: Any) -> str:
    """Write a payload in the one way that is hashed: sorted keys, no white space, ASCII.

    Raises:
        NoStableForm: a value is not made of dicts with string keys, lists, strings, finite numbers, booleans
            and None; the message names the place.
    """
    _refuse_unstable(value, "payload")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(payload: Mapping[str, Any]) -> str:
    """Hash a payload to 16 hexadecimal digits."""
    return hashlib.sha256(canonical_json(payload).encode()).hexdigest()[:16]


def digest(data: bytes) -> str:
    """Hash bytes to 32 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def model_identity(model_id: str, revision: str | None) -> dict[str, str | None]:
    """A hub id and its revision; for a local folder or a file of weights a digest of the content, wherever it is."""
    folder = Path(model_id)
    if folder.suffix in WEIGHT_FILES and folder.is_file():
        return {"file": hashlib.sha256(_whole_or_samples(folder)).hexdigest()[:32]}
    if not folder.is_dir():
        return {"id": model_id, "revision": revision}
    content = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        content.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        content.update(_whole_or_samples(path))
    return {"folder": content.hexdigest()[:32]}


def _whole_or_samples(path: Path) -> bytes:
    size = path.stat().st_size
    if size <= WHOLE_FILE_BYTES:
        return path.read_bytes()
    steps = [round(step * (size - SAMPLE_BYTES) / (SAMPLES - 1)) for step in range(SAMPLES)]
    samples = []
    with path.open("rb") as file:
        for start in steps:
            file.seek(start)
            samples.append(file.read(SAMPLE_BYTES))
    return b"".join(samples)


def _refuse_unstable(value: Any, place: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoStableForm(f"{place} is {value}: use a finite number, or null for none")
        return
    if isinstance(value, Mapping):
        for key, child in value.items():
            if not isinstance(key, str):
                raise NoStableForm(f"{place} has the key {key!r}: make it a string")
            _refuse_unstable(child, f"{place}.{key}")
        return
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for index, child in enumerate(value):
            _refuse_unstable(child, f"{place}[{index}]")
        return
    raise NoStableForm(f"{place} is a {type(value).__name__}: turn it into strings, numbers, lists or dicts first")
