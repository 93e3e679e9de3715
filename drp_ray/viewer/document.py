"""One user or item as the page reads it: a line of JSON, then its texts. Equal texts are there once.

The texts are apart from the structure, so that a search looks through texts alone and through each once. A document is

    {"lengths": [5, 7], "user_id": "u1", …}\\n
    first\\n
    another

with lengths in UTF-16 units, as JavaScript counts; in the structure, a text is the number of its place.
"""

import gzip
import json
from collections.abc import Mapping
from typing import Any

TEXT_FIELDS = frozenset(
    {
        "text",
        "title",
        "description",
        "item_title",
        "item_description",
        "reference",
        "summary",
        "prediction",
        "extracted",
        "validated",
        "name",
        "definition",
        "thinking",
        "error",
    }
)
"""Fields whose values people or models wrote, or that repeat what was written. Without texts they are null.

What else is text, is an id or a word of this package: methods, states, roles, reasons.
"""

COMPRESSION = 6


class Texts:
    """The texts of a document, numbered in the order in which they are met."""

    def __init__(self, are_kept: bool) -> None:
        self.all: dict[str, int] = {}
        self._are_kept = are_kept

    def numbered(self, value: Any, field: str = "") -> Any:
        """The value with each text replaced by its number, or by null where texts are not kept."""
        if isinstance(value, Mapping):
            return {name: self.numbered(child, name) for name, child in value.items()}
        if isinstance(value, list):
            return [self.numbered(child, field) for child in value]
        if not isinstance(value, str) or field not in TEXT_FIELDS:
            return value
        if self._are_kept:
            return self.all.setdefault(value, len(self.all))
        return reason(value) if field == "error" else None


def reason(error: str) -> str:
    """What kind of error it was: what stands before the first colon. What follows may quote a prompt or a reply."""
    return error.partition(":")[0]


def document(structure: Mapping[str, Any], with_texts: bool) -> bytes:
    """Write a document, compressed; equal structures give equal bytes."""
    texts = Texts(with_texts)
    numbered = texts.numbered(structure)
    lengths = [len(text.encode("utf-16-le")) // 2 for text in texts.all]
    head = json.dumps({"lengths": lengths, **numbered}, ensure_ascii=False, separators=(",", ":"))
    return gzip.compress("\n".join([head, *texts.all]).encode(), COMPRESSION, mtime=0)


def read_document(data: bytes) -> tuple[dict[str, Any], list[str]]:
    """The structure of a document and its texts, as the page reads them."""
    head, _, body = gzip.decompress(data).decode().partition("\n")
    structure, units, texts, start = json.loads(head), body.encode("utf-16-le"), [], 0
    for length in structure["lengths"]:
        texts.append(units[2 * start : 2 * (start + length)].decode("utf-16-le"))
        start += length + 1
    return structure, texts
