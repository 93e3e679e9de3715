"""The first pass: raw files, chunk by chunk, into Parquet files that hold what passes the rules of a single row.

A file of this pass says in its footer how many lines its chunk had and what became of them, so that the files alone
are the progress of the pass: what is there is not made again.
"""

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray.data import rules
from drp_ray.data.formats import Format, Milliseconds
from drp_ray.data.inputs import Piece, RawFile, read_chunks
from drp_ray.data.rules import Rules
from drp_ray.data.tables import read_told, write_table
from drp_ray.errors import BadInput
from drp_ray.storage.folder import Folder

LINE_BITS, CHUNK_BITS = 26, 21
"""A row id is file, chunk and line: in the order of the input, whatever reads it."""
FEW = 5
"""How many bad rows are named."""

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
"""`problem` is the rule that the item breaks; its words are left out then."""


class ChunkFacts(msgspec.Struct):
    """What became of a chunk: lines with the blank ones, rows without them, and the first bad rows by line."""

    file: int
    chunk: int
    lines: int
    rows: int
    kept: int
    bad: int
    is_last: bool
    is_truncated: bool
    first_bad: list[tuple[int, str]] = msgspec.field(default_factory=list)
    dropped: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the file that the chunk became."""
        return chunk_name(self.file, self.chunk)


def chunk_name(file: int, chunk: int) -> str:
    """The name of what a chunk of a file becomes."""
    return f"part-{file:05d}-{chunk:07d}.parquet"


class Made(NamedTuple):
    """The table of a chunk, and how many rows each rule dropped."""

    table: pa.Table
    dropped: Mapping[str, int]


class Maker(Protocol):
    """Makes a table of decoded rows."""

    @property
    def row_type(self) -> type[msgspec.Struct]:
        """What a row decodes to. A row that does not is bad."""

    def make(self, rows: Iterable[tuple[int, Any]], bad: "BadRows") -> Made:
        """The table of `(line in the chunk, row)` pairs. `row_id` holds the line; a row may still turn out bad."""


class BadRows:
    """Counts the rows of a chunk that cannot be read, and keeps the first few."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, str]] = []

    def add(self, line: int, reason: str) -> None:
        """Note a bad row; `line` counts from 0."""
        self.count += 1
        if len(self.first) < FEW:
            self.first.append((line, reason))


@dataclass(frozen=True)
class ReviewMaker:
    """Keeps the reviews that are whole and long enough."""

    format: Format
    rules: Rules

    @property
    def row_type(self) -> type[Any]:
        """A row of a reviews file."""
        return self.format.review

    def make(self, rows: Iterable[tuple[int, Any]], bad: BadRows) -> Made:
        """A table as `RAW_REVIEWS` names it, white space collapsed."""
        columns: list[tuple[Any, ...]] = []
        dropped: Counter[str] = Counter()
        for line, row in rows:
            try:
                review = row.review()
            except ValueError as error:
                bad.add(line, str(error))
                continue
            title = collapsed(review.title)
            if self.format.has_titles and not title:
                dropped[rules.NO_TITLE] += 1
            elif review.rating is None or review.timestamp is None:
                dropped[rules.NO_NUMBERS] += 1
            elif len(review.text or "") < self.rules.min_review_chars or not (text := collapsed(review.text)):
                dropped[rules.SHORT_REVIEW] += 1
            else:
                numbers = (review.timestamp, text_hash(text), review.rating)
                columns.append((line, review.user_id, review.item_id, *numbers, title or None, text))
        return Made(table_of(columns, RAW_REVIEWS), dropped)


@dataclass(frozen=True)
class ItemMaker:
    """Says of every item whether it may stay, and keeps the words of those that may."""

    format: Format
    rules: Rules

    @property
    def row_type(self) -> type[Any]:
        """A row of a metadata file."""
        return self.format.item

    def make(self, rows: Iterable[tuple[int, Any]], bad: BadRows) -> Made:
        """A table as `RAW_ITEMS` names it; nothing is dropped, as the first entry of an item counts, good or not."""
        columns: list[tuple[Any, ...]] = []
        for line, row in rows:
            item = row.item()
            title, description = collapsed(item.title), collapsed(item.description)
            problem = self._problem(title, item.description if description else None)
            words = (None, None) if problem else (title, description or None)
            columns.append((line, item.item_id, problem, *words))
        return Made(table_of(columns, RAW_ITEMS), {})

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
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


def table_of(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """A table of rows."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class Extraction:
    """A pass over raw files: which files, what is made of their rows, and where it goes."""

    files: Sequence[RawFile]
    maker: Maker
    folder: Folder
    chunk_bytes: int
    allow_truncated: bool

    def extract(self, piece: Piece, done: frozenset[str]) -> Iterator[ChunkFacts]:
        """Write the chunks of a piece that are not in `done`.

        Raises:
            BadInput: the file cannot be read.
        """
        file = self.files[piece.file]
        chunks = read_chunks(
            file,
            piece,
            self.columns,
            self.chunk_bytes,
            self.allow_truncated,
            lambda chunk: chunk_name(piece.file, chunk) in done,
        )
        for chunk in chunks:
            bad = BadRows()
            lines = len(chunk.rows)
            if isinstance(chunk.rows, pa.Table):
                rows, decoded = lines, self._converted(chunk.rows, bad)
            else:
                rows, decoded = sum(1 for line in chunk.rows if line.strip()), self.decoded(chunk.rows, bad)
            made = self.maker.make(decoded, bad)
            facts = ChunkFacts(
                file=piece.file,
                chunk=chunk.index,
                lines=lines,
                rows=rows,
                kept=made.table.num_rows,
                bad=bad.count,
                is_last=chunk.is_last,
                is_truncated=chunk.is_truncated,
                first_bad=sorted(bad.first)[:FEW],
                dropped=dict(made.dropped),
            )
            write_table(self.folder, facts.name, with_row_ids(made.table, facts), msgspec.to_builtins(facts))
            yield facts

    @property
    def columns(self) -> list[str]:
        """The columns that rows are made of."""
        return [column.name for column in msgspec.structs.fields(self.maker.row_type)]

    def decoded(self, lines: Sequence[bytes], bad: BadRows) -> Iterator[tuple[int, Any]]:
        """The rows in some lines of JSON, by line; those that cannot be read are noted."""
        decode = msgspec.json.Decoder(self.maker.row_type).decode
        for number, line in enumerate(lines):
            if line.strip():
                try:
                    yield number, decode(line)
                except ValueError as error:
                    bad.add(number, str(error))

    def _converted(self, rows: pa.Table, bad: BadRows) -> Iterator[tuple[int, Any]]:
        for number, row in enumerate(_plain_times(rows, self.maker.row_type).to_pylist()):
            try:
                yield number, msgspec.convert(row, self.maker.row_type)
            except ValueError as error:
                bad.add(number, str(error))


def _plain_times(rows: pa.Table, row_type: type[msgspec.Struct]) -> pa.Table:
    """Turn columns of moments into what a line of JSON would hold: milliseconds, or a text."""
    wanted = {column.name: column.type for column in msgspec.structs.fields(row_type)}
    for index, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type):
            moments = rows[column.name].cast(pa.timestamp("ms", "UTC"))
            is_number = wanted[column.name] == Milliseconds | None
            plain = moments.cast(pa.int64()) if is_number else pc.strftime(moments, "%Y-%m-%dT%H:%M:%S+00:00")
            rows = rows.set_column(index, column.name, plain)
    return rows


def with_row_ids(table: pa.Table, facts: ChunkFacts) -> pa.Table:
    """Make row ids of lines, where the table has them."""
    if "row_id" not in table.column_names:
        return table
    before = ((facts.file << CHUNK_BITS) | facts.chunk) << LINE_BITS
    return table.set_column(0, "row_id", pc.add(table["row_id"], before))


def extract_piece(batch: pa.Table, extraction: Extraction, done: frozenset[str]) -> Iterator[pa.Table]:
    """A task of Ray Data: make the chunks of one piece; a row with the facts for each."""
    (piece,) = batch.to_pylist()
    for facts in extraction.extract(Piece(**piece), done):
        yield pa.table({"facts": [json.dumps(msgspec.to_builtins(facts))]})


def facts_of_done(extraction: Extraction) -> list[ChunkFacts]:
    """The facts of the chunks that are there."""
    names = [entry.name for entry in extraction.folder.entries() if entry.name.startswith("part-")]
    return [msgspec.convert(told, ChunkFacts) for told in read_told(extraction.folder, names).values()]


def refuse_foreign(extraction: Extraction) -> None:
    """Look at the first rows of every file, so that a file of another kind is refused at once.

    Raises:
        BadInput: a column is missing, or not one of the first rows can be read.
    """
    for file in extraction.files:
        if file.kind == "parquet":
            _refuse_columns(file, extraction.maker.row_type)
            continue
        with file.open() as stream:
            lines = _first_lines(stream.read(1 << 20), file)
        bad = BadRows()
        if not list(extraction.decoded(lines, bad)) and bad.count:
            places = [f"{file.uri}, line {line + 1}: {reason}" for line, reason in bad.first]
            raise BadInput("no row can be read: " + "; ".join(places))


def _first_lines(head: bytes, file: RawFile) -> list[bytes]:
    if file.kind == "gzip":
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 1 << 22)
        except zlib.error as error:
            raise BadInput(f"{file.uri}: the gzip file is damaged: {error}") from error
    lines = head.split(b"\n")
    return lines[:-1] if len(lines) > 1 else lines


def _refuse_columns(file: RawFile, row_type: type[msgspec.Struct]) -> None:
    try:
        found = pq.read_schema(file.open()).names
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{file.uri}: not a Parquet file that can be read: {error}") from error
    needed = [column.name for column in msgspec.structs.fields(row_type) if column.required]
    if missing := [name for name in needed if name not in found]:
        raise BadInput(f"{file.uri}: column {', '.join(missing)} is missing (found: {', '.join(found)})")


def check_bad_rows(files: Sequence[RawFile], facts: Sequence[ChunkFacts], max_bad_rows: float) -> int:
    """How many rows could not be read.

    Raises:
        BadInput: more than the share `max_bad_rows` of all rows; the first few are named by file and line.
    """
    bad, rows = sum(chunk.bad for chunk in facts), sum(chunk.rows for chunk in facts)
    if bad <= max_bad_rows * rows:
        return bad
    raise BadInput(
        f"{bad:,} of {rows:,} rows cannot be read, more than --max-bad-rows {max_bad_rows:.2%} allows: "
        + "; ".join(_places(files, facts))
    )


def _places(files: Sequence[RawFile], facts: Sequence[ChunkFacts]) -> list[str]:
    places, lines_before = [], dict.fromkeys(range(len(files)), 0)
    for chunk in sorted(facts, key=lambda chunk: (chunk.file, chunk.chunk)):
        for line, reason in chunk.first_bad:
            file = files[chunk.file]
            word = "row" if file.kind == "parquet" else "line"
            places.append(f"{file.uri}, {word} {lines_before[chunk.file] + line + 1}: {reason}")
        lines_before[chunk.file] += chunk.lines
    return places[:FEW]
