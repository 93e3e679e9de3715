"""Raw files: where they are, and how one of any size is cut into chunks that do not depend on who reads it.

Chunk `k` of a text file holds the lines that begin in bytes `[k * chunk_bytes, (k + 1) * chunk_bytes)` of its
decompressed content; chunk `k` of a Parquet file is its row group `k`. A gzip file can only be read from its start, so
several readers decompress all of it and each parses its share of the chunks: decompressing costs less than parsing.
"""

import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.errors import BadInput
from drp_ray.storage.folder import Entry, Folder, LocalFolder, S3Options, check_reachable, open_folder

READ_BYTES = 1 << 20
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")


@dataclass(frozen=True)
class RawFile:
    """An input file. `kind` is "text", "gzip" or "parquet"."""

    folder: Folder
    name: str
    size: int
    kind: str

    @property
    def uri(self) -> str:
        """The file's address."""
        return f"{self.folder.uri}/{self.name}"

    def open(self) -> BinaryIO:
        """The file as a stream that can seek. Local files are read, not mapped: maps would count as memory."""
        if isinstance(self.folder, LocalFolder):
            return (self.folder.path / self.name).open("rb")
        stream: BinaryIO = self.folder.open(self.name)
        return stream

    def parquet(self) -> pq.ParquetFile:
        """The file as Parquet.

        Raises:
            BadInput: it is no Parquet file.
        """
        try:
            return pq.ParquetFile(self.open())
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(f"{self.uri}: not a Parquet file that can be read: {error}") from error

    def identity(self) -> dict[str, str | int]:
        """What stands for the content: name, size, and S3's tag or a digest of the first and the last megabyte."""
        if isinstance(self.folder, LocalFolder):
            with self.open() as stream:
                ends = hashlib.sha256(stream.read(READ_BYTES))
                stream.seek(max(self.size - READ_BYTES, 0))
                ends.update(stream.read(READ_BYTES))
            return {"name": self.name, "size": self.size, "tag": ends.hexdigest()[:32]}
        (entry,) = (entry for entry in self.folder.entries() if entry.name == self.name)
        return {"name": self.name, "size": self.size, "tag": self.folder.content_tag(entry)}

    def changed_at(self) -> int:
        """When a local file was changed, in nanoseconds; 0 where the store keeps a tag of the content instead."""
        if isinstance(self.folder, LocalFolder):
            return (self.folder.path / self.name).stat().st_mtime_ns
        return 0


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file: lines of text, or a table. `is_last` says that the file ends here."""

    index: int
    rows: list[bytes] | pa.Table
    is_last: bool
    is_truncated: bool = False


@dataclass(frozen=True)
class Piece:
    """What one task reads of a file: every `step`-th chunk from `first` on, or only `first` where `step` is 0."""

    file: int
    first: int
    step: int


class TruncatedGzip(BadInput):
    """A gzip file ends in the middle of its data."""


def find_files(locations: Sequence[str], s3: S3Options) -> list[RawFile]:
    """The files that are named, or that lie in the named folders, in the order given.

    Raises:
        BadInput: there is no such file, or it is of no known kind.
    """
    found = []
    for location in locations:
        parent, _, name = location.rstrip("/").rpartition("/")
        folder = open_folder(parent or ("/" if location.startswith("/") else "."), s3)
        check_reachable(folder)
        named = [(folder, entry) for entry in folder.entries() if entry.name == name]
        inside = [(folder.at(name), entry) for entry in folder.at(name).entries() if entry.name.endswith(SUFFIXES)]
        if not named and not inside:
            raise BadInput(f"{location}: no such file, and no folder with files ({', '.join(SUFFIXES)})")
        found += [_raw_file(where, entry) for where, entry in named or inside]
    return found


def _raw_file(folder: Folder, entry: Entry) -> RawFile:
    if entry.name.endswith(".parquet"):
        kind = "parquet"
    elif entry.name.endswith(SUFFIXES):
        kind = "gzip" if entry.name.endswith(".gz") else "text"
    else:
        raise BadInput(f"{folder.uri}/{entry.name}: unknown kind of file; known: {', '.join(SUFFIXES)}")
    return RawFile(folder, entry.name, entry.size, kind)


def pieces_of(number: int, file: RawFile, chunk_bytes: int, gzip_readers: int) -> list[Piece]:
    """The pieces that together are a file."""
    if file.kind == "gzip":
        return [Piece(number, reader, gzip_readers) for reader in range(gzip_readers)]
    if file.kind == "parquet":
        chunks = file.parquet().metadata.num_row_groups
    else:
        chunks = max(1, math.ceil(file.size / chunk_bytes))
    return [Piece(number, chunk, 0) for chunk in range(chunks)]


def read_chunks(
    file: RawFile,
    piece: Piece,
    columns: Sequence[str],
    chunk_bytes: int,
    allow_truncated: bool,
    is_done: Callable[[int], bool],
) -> Iterator[Chunk]:
    """The chunks of a piece that are not done yet; only the named columns of Parquet files, as far as they exist.

    Raises:
        TruncatedGzip: a gzip file ends too early, unless that is allowed.
        BadInput: the file is damaged or lacks a column.
    """
    if file.kind == "gzip":
        with file.open() as stream:
            yield from _cut(
                _decompressed(stream, file.uri),
                chunk_bytes,
                allow_truncated,
                lambda chunk: chunk % piece.step == piece.first and not is_done(chunk),
            )
    elif not is_done(piece.first):
        if file.kind == "parquet":
            yield _row_group(file, piece.first, columns)
        else:
            yield _text_chunk(file, piece.first, chunk_bytes)


def _row_group(file: RawFile, index: int, columns: Sequence[str]) -> Chunk:
    parquet = file.parquet()
    found = parquet.schema_arrow.names
    try:
        rows = parquet.read_row_group(index, columns=[column for column in columns if column in found])
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{file.uri}: row group {index} cannot be read: {error}") from error
    return Chunk(index, rows, index + 1 == parquet.metadata.num_row_groups)


def _text_chunk(file: RawFile, index: int, chunk_bytes: int) -> Chunk:
    """Read from one byte before the chunk, because a line begins at the chunk only where that byte is a line end."""
    begin = index * chunk_bytes
    with file.open() as stream:
        stream.seek(max(begin - 1, 0))
        content = stream.read(begin + chunk_bytes - stream.tell())
        while not content.endswith(b"\n") and (more := stream.read(READ_BYTES)):
            head, line_end, _ = more.partition(b"\n")
            content += head + line_end
    if begin:
        content = content.partition(b"\n")[2]
    return Chunk(index, _lines(content), begin + chunk_bytes >= file.size)


def _lines(content: bytes | bytearray) -> list[bytes]:
    lines = bytes(content).split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _cut(
    blocks: Iterator[bytes], chunk_bytes: int, allow_truncated: bool, is_wanted: Callable[[int], bool]
) -> Iterator[Chunk]:
    """Cut a stream after the first line end at or behind every multiple of `chunk_bytes`; the wanted chunks.

    Of a stream that ends too early, where that is allowed, the last line is left out, as it is not whole.
    """
    held, begins_at, index, is_truncated, at_end = bytearray(), 0, 0, False, False
    while not at_end:
        try:
            held += next(blocks)
        except StopIteration:
            at_end = True
        except TruncatedGzip:
            if not allow_truncated:
                raise
            at_end = is_truncated = True
            del held[held.rfind(b"\n") + 1 :]
        while begins_at + len(held) > (index + 1) * chunk_bytes:
            if begins_at >= (index + 1) * chunk_bytes:
                size = 0  # the line before covers the whole chunk
            else:
                size = held.find(b"\n", (index + 1) * chunk_bytes - 1 - begins_at) + 1
                is_line_unfinished, may_be_last = size == 0, size == len(held)
                if is_line_unfinished or may_be_last:
                    break
            if is_wanted(index):
                yield Chunk(index, _lines(held[:size]), False)
            del held[:size]
            begins_at, index = begins_at + size, index + 1
    if is_wanted(index):
        yield Chunk(index, _lines(held), True, is_truncated)


def _decompressed(stream: BinaryIO, where: str) -> Iterator[bytes]:
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while block := stream.read(READ_BYTES):
        while block:
            if member.eof:
                block = block.lstrip(b"\0")  # padding behind the last member
                member = zlib.decompressobj(zlib.MAX_WBITS | 16) if block else member
                continue
            try:
                yield member.decompress(block)
            except zlib.error as error:
                raise BadInput(f"{where}: the gzip file is damaged: {error}") from error
            block = member.unused_data
    if not member.eof:
        raise TruncatedGzip(f"{where}: the gzip file ends too early; download it again, or add --allow-truncated")
