"""Name a result after everything that can change it, so that unlike results never share a folder.

A stage's folder carries the fingerprint of its payload: its version, its settings and the fingerprints of its
inputs. The hash must therefore be the same for equal payloads in every process and on every machine, and a
value without one stable spelling is refused instead of being hashed by accident (by its address, say).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from drp_ray.errors import BadInput


class NoStableForm(BadInput):
    """A value cannot be part of a fingerprint."""


def canonical_json(value: Any) -> str:
    """Spell a payload in one way only: sorted keys, no white space, ASCII.

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
    """Hash file content to 32 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:32]


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
