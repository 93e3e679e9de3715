"""The rules that look at a single row: decoded rows of a chunk become a table of what passes them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import pyarrow as pa

from drp_ray.data import rules
from drp_ray.data.formats import Format, ItemRow, ReviewRow
from drp_ray.data.rules import Rules

NAMED_BAD_ROWS = 5
"""How many bad rows an error names."""

RAW_REVIEWS = pa.schema(
    [
        ("row_id", pa.int64()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.int64()),
        ("text_hash", pa.int64()),
        ("rating", pa.float64()),
        ("title", pa.string()),
        ("text", pa.string()),
    ]
)
RAW_ITEMS = pa.schema(
    [
        ("row_id", pa.int64()),
        ("item_id", pa.string()),
        ("problem", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
    ]
)
"""`problem` is the rule that the item breaks; title and description are null then."""

RowT = TypeVar("RowT", bound=msgspec.Struct)


class BadRows:
    """Counts the rows of a chunk that cannot be read, and keeps the first few."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, str]] = []

    def add(self, line: int, reason: str) -> None:
        """Note a bad row; `line` counts from 0."""
        self.count += 1
        if len(self.first) < NAMED_BAD_ROWS:
            self.first.append((line, reason))


class Made(NamedTuple):
    """The table of a chunk, and how many rows each rule dropped."""

    table: pa.Table
    dropped: Mapping[str, int]


class TableMaker(Protocol[RowT]):
    """Makes a table of decoded rows."""

    @property
    def row_type(self) -> type[RowT]:
        """What a row decodes to. A row that does not is bad."""

    def make(self, rows: Iterable[tuple[int, RowT]], bad: BadRows) -> Made:
        """The table of `(line in the chunk, row)` pairs. `row_id` holds the line; a row may still turn out bad."""


@dataclass(frozen=True)
class ReviewMaker:
    """Keeps the reviews that are whole and long enough."""

    format: Format
    rules: Rules

    @property
    def row_type(self) -> type[ReviewRow]:
        """A row of a reviews file."""
        return self.format.review

    def make(self, rows: Iterable[tuple[int, ReviewRow]], bad: BadRows) -> Made:
        """A table as `RAW_REVIEWS` names it, white space collapsed."""
        kept: list[tuple[object, ...]] = []
        dropped: Counter[str] = Counter()
        for line, row in rows:
            try:
                review = row.review()
            except ValueError as error:
                bad.add(line, str(error))
                continue
            title, text = collapsed(review.title), collapsed(review.text)
            if self.format.has_titles and not title:
                dropped[rules.NO_TITLE] += 1
            elif review.rating is None or review.timestamp is None:
                dropped[rules.NO_NUMBERS] += 1
            elif not text or len(review.text or "") < self.rules.min_review_chars:
                dropped[rules.SHORT_REVIEW] += 1
            else:
                numbers = (review.timestamp, text_hash(text), review.rating)
                kept.append((line, review.user_id, review.item_id, *numbers, title or None, text))
        return Made(table_of(kept, RAW_REVIEWS), dropped)


@dataclass(frozen=True)
class ItemMaker:
    """Finds the rule that an item breaks, and keeps title and description of those that break none."""

    format: Format
    rules: Rules

    @property
    def row_type(self) -> type[ItemRow]:
        """A row of a metadata file."""
        return self.format.item

    def make(self, rows: Iterable[tuple[int, ItemRow]], bad: BadRows) -> Made:
        """A table as `RAW_ITEMS` names it; nothing is dropped, as the first entry of an item counts, good or not."""
        made: list[tuple[object, ...]] = []
        for line, row in rows:
            item = row.item()
            title, description = collapsed(item.title), collapsed(item.description)
            problem = self._problem(title, item.description if description else None)
            words = (None, None) if problem else (title, description or None)
            made.append((line, item.item_id, problem, *words))
        return Made(table_of(made, RAW_ITEMS), {})

    def _problem(self, title: str, description: str | None) -> str | None:
        if not title:
            return rules.NO_ITEM_TITLE
        if not self.format.has_descriptions or (description is None and self.rules.min_description_chars == 0):
            return None
        if self.rules.min_description_chars <= len(description or "") <= self.rules.max_description_chars:
            return None
        return rules.DESCRIPTION


def collapsed(text: str | None) -> str:
    """A text with every run of white space made one space; "" for none."""
    return " ".join(text.split()) if text else ""


def text_hash(text: str) -> int:
    """A signed 64-bit hash of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


def table_of(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    """A table of rows that have their values in the order of the schema."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
