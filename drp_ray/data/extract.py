"""The first pass: raw files, chunk by chunk, into Parquet files that hold what passes the rules of a single row.

The footer of such a file says how many lines its chunk had and what became of them. So the files alone say how far the
pass has come, and a chunk whose file exists is not read again.
"""

import math
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Generic

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drp_ray.data.footers import read_footers, write_with_footer
from drp_ray.data.formats import Milliseconds
from drp_ray.data.raw_files import Chunk, Piece, RawFile, pieces_of, read_chunks
from drp_ray.data.row_rules import NAMED_BAD_ROWS, BadRows, RowT, TableMaker
from drp_ray.data.task_runner import Progress, Task, TaskRunner
from drp_ray.errors import BadInput
from drp_ray.running.cluster import Say
from drp_ray.storage.folder import Folder

LINE_BITS, CHUNK_BITS = 26, 21
"""A row id is made of file, chunk and line, so ids are in the order of the input, however it is read."""
COLUMN_READERS = 4


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
    """The name of the file that a chunk of a raw file becomes."""
    return f"part-{file:05d}-{chunk:07d}.parquet"


@dataclass(frozen=True)
class Extraction(Generic[RowT]):
    """A pass over raw files: which files, what is made of their rows, and where it goes."""

    files: Sequence[RawFile]
    maker: TableMaker[RowT]
    folder: Folder
    chunk_bytes: int
    allow_truncated: bool

    def extract(self, piece: Piece, done: frozenset[str]) -> Iterator[ChunkFacts]:
        """Write the chunks of a piece that are not in `done`.

        Raises:
            BadInput: the file cannot be read.
        """
        chunks = read_chunks(
            self.files[piece.file],
            piece,
            self.columns,
            self.chunk_bytes,
            self.allow_truncated,
            lambda chunk: chunk_name(piece.file, chunk) in done,
        )
        for chunk in chunks:
            yield self._write(piece.file, chunk)

    def _write(self, file: int, chunk: Chunk) -> ChunkFacts:
        bad = BadRows()
        if isinstance(chunk.rows, pa.Table):
            rows, decoded = len(chunk.rows), self._converted(chunk.rows, bad)
        else:
            rows, decoded = sum(1 for line in chunk.rows if line.strip()), self.decoded(chunk.rows, bad)
        made = self.maker.make(decoded, bad)
        facts = ChunkFacts(
            file=file,
            chunk=chunk.index,
            lines=len(chunk.rows),
            rows=rows,
            kept=made.table.num_rows,
            bad=bad.count,
            is_last=chunk.is_last,
            is_truncated=chunk.is_truncated,
            first_bad=sorted(bad.first),
            dropped=dict(made.dropped),
        )
        write_chunk(self.folder, made.table, facts)
        return facts

    @property
    def columns(self) -> list[str]:
        """The columns that rows are made of."""
        return [column.name for column in msgspec.structs.fields(self.maker.row_type)]

    def decoded(self, lines: Sequence[bytes], bad: BadRows) -> Iterator[tuple[int, RowT]]:
        """The rows in some lines of JSON, by line; those that cannot be read are noted."""
        decode = msgspec.json.Decoder(self.maker.row_type).decode
        for number, line in enumerate(lines):
            if line.strip():
                try:
                    yield number, decode(line)
                except ValueError as error:
                    bad.add(number, str(error))

    def _converted(self, rows: pa.Table, bad: BadRows) -> Iterator[tuple[int, RowT]]:
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


def write_chunk(folder: Folder, table: pa.Table, facts: ChunkFacts) -> None:
    """Write what a chunk became, with row ids in place of its lines where it has them."""
    if "row_id" in table.column_names:
        before = ((facts.file << CHUNK_BITS) | facts.chunk) << LINE_BITS
        table = table.set_column(0, "row_id", pc.add(table["row_id"], before))
    write_with_footer(folder, facts.name, table, msgspec.to_builtins(facts))


def extract_all(
    runner: TaskRunner, extraction: Extraction[RowT], what: str, max_bad_rows: float, say: Say
) -> list[ChunkFacts]:
    """Run the pass over all files, or what is left of it; the facts of its chunks, in order.

    Raises:
        BadInput: a file cannot be read, or too many rows cannot.
    """
    began = time.monotonic()
    done = {chunk.name: chunk for chunk in _finished_chunks(extraction)}
    pieces = [asdict(piece) for piece in _pending_pieces(extraction, list(done.values()), runner.cpus)]
    progress = Progress(f"Reading {what}", say)
    for row in runner.run(pieces, _extract_piece, {"extraction": extraction, "done": frozenset(done)}):
        chunk = msgspec.json.decode(row["facts"], type=ChunkFacts)
        done[chunk.name] = chunk
        progress.report(f"{sum(chunk.rows for chunk in done.values()):,} rows")
    facts = sorted(done.values(), key=lambda chunk: (chunk.file, chunk.chunk))
    bad = _check_bad_rows(extraction.files, facts, max_bad_rows)
    rows, kept = sum(chunk.rows for chunk in facts), sum(chunk.kept for chunk in facts)
    say(f"{what}: {rows:,} rows, {bad:,} bad, {kept:,} kept, {time.monotonic() - began:.1f} s")
    return facts


def _finished_chunks(extraction: Extraction[RowT]) -> list[ChunkFacts]:
    names = [entry.name for entry in extraction.folder.entries() if entry.name.startswith("part-")]
    return [msgspec.convert(footer, ChunkFacts) for footer in read_footers(extraction.folder, names).values()]


def _pending_pieces(extraction: Extraction[RowT], done: Sequence[ChunkFacts], cpus: int) -> Iterator[Piece]:
    """The pieces with chunks that are not done. A gzip file shows only at its end how many chunks it has."""
    gzip_files = [file for file in extraction.files if file.kind == "gzip"]
    readers = math.ceil(cpus / max(len(gzip_files), 1))
    for number, file in enumerate(extraction.files):
        found = {chunk.chunk: chunk for chunk in done if chunk.file == number}
        pieces = pieces_of(number, file, extraction.chunk_bytes, readers)
        if file.kind != "gzip":
            yield from (piece for piece in pieces if piece.first not in found)
        elif not any(chunk.is_last for chunk in found.values()) or len(found) <= max(found):
            yield from pieces


def _extract_piece(piece: Task, extraction: Extraction[RowT], done: frozenset[str]) -> Iterator[Task]:
    """A task: make the chunks of one piece; the facts of each."""
    for facts in extraction.extract(Piece(**piece), done):
        yield {"facts": msgspec.json.encode(facts)}


def columns_of(folder: Folder, chunks: Sequence[ChunkFacts], columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of every chunk, in order."""

    def read(chunk: ChunkFacts) -> pa.Table:
        with folder.open(chunk.name) as file:
            return pq.read_table(file, columns=columns)

    with ThreadPoolExecutor(COLUMN_READERS) as pool:
        for begin in range(0, len(chunks), COLUMN_READERS):
            yield from pool.map(read, chunks[begin : begin + COLUMN_READERS])


def truncated_files(files: Sequence[RawFile], facts: Sequence[ChunkFacts]) -> list[str]:
    """The names of the files that end too early."""
    return [files[chunk.file].name for chunk in facts if chunk.is_truncated]


def check_first_rows(extraction: Extraction[RowT]) -> None:
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
    found = file.parquet().schema_arrow.names
    needed = [column.name for column in msgspec.structs.fields(row_type) if column.required]
    if missing := [name for name in needed if name not in found]:
        raise BadInput(f"{file.uri}: column {', '.join(missing)} is missing (found: {', '.join(found)})")


def _check_bad_rows(files: Sequence[RawFile], facts: Sequence[ChunkFacts], max_bad_rows: float) -> int:
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
    return places[:NAMED_BAD_ROWS]
