"""A dataset on storage: a folder of Parquet parts and a manifest.

The Parquet footer of a part holds the part's facts (rows, error rows, tokens), a digest of its rows and the digest
of the input that it was made from. So the committed parts alone say how far a stage has come, and whether they
still fit their input.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drp_ray import schema
from drp_ray.errors import BadInput, StageFailed
from drp_ray.storage.fingerprint import digest
from drp_ray.storage.folder import Folder, StorageUnreachable
from drp_ray.storage.versions import versions

MANIFEST = "manifest.json"
FACTS_KEY = b"drp_ray"
"""The key of the Parquet footer's metadata that this package writes."""
FOOTER_READERS = 16
"""Footers that are read at the same time: over a network most of the time is spent waiting."""

Facts = dict[str, float]
"""Numbers about a part that may be added up over parts: `rows`, `errors`, tokens, sums."""


def part_name(index: int) -> str:
    """The name of part `index`."""
    return f"part-{index:05d}.parquet"


@dataclass(frozen=True)
class Part:
    """A part that was read: its rows, its facts and the digest of its rows.

    `stored` is a digest that can be computed again from the rows as they are read; earlier parts have none.
    """

    rows: pa.Table
    facts: Facts
    digest: str
    stored: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether these are the rows that were committed; of an earlier part only that it can be read is known."""
        return self.stored is None or self.stored == _stored_digest(_compact_copy(self.rows))


class DamagedPart(StageFailed):
    """A part is not there, or is not what was committed."""


class PartEntry(BaseModel):
    """A part in a manifest. `digest`, `facts` and `size` (bytes) are known once the part is committed.

    `file_digest` is of the file's bytes, where the job that wrote the manifest saw the part being written. Manifests of
    earlier versions of this package have neither sizes nor digests of files.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    digest: str | None = None
    facts: Facts = {}
    size: int | None = None
    file_digest: str | None = None


class Manifest(BaseModel):
    """What a stage's folder holds, or will hold.

    `inputs` has the `content` of each input that the parts were made from. `totals` is None until every part is there.
    `damage` says of parts that were committed what is wrong with their files now; it is not written.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    fingerprint: str
    made_from: dict[str, Any]
    inputs: dict[str, str]
    parts: list[PartEntry]
    wall_s: float = 0.0
    totals: Facts | None = None
    damage: dict[str, str] = Field(default={}, exclude=True)

    @property
    def content(self) -> str:
        """A digest of what the parts hold; it changes when a part is replaced."""
        lines = "".join(f"{part.name} {part.digest}\n" for part in self.parts)
        return digest(lines.encode())

    @property
    def is_done(self) -> bool:
        """Whether every part was committed."""
        return self.totals is not None


@dataclass(frozen=True)
class Committed:
    """A committed part as its footer describes it: its facts, and the digests of its rows and of its input's rows.

    `made_with` has the versions of libraries and the commit; parts of earlier versions of this package have none.
    `file_digest` is known where the part was written, and not from its footer.
    """

    name: str
    facts: Facts
    digest: str
    input_digest: str
    made_with: dict[str, str] = field(default_factory=dict)
    size: int | None = None
    file_digest: str | None = field(default=None, compare=False)

    @property
    def rows(self) -> int:
        """How many rows the part has."""
        return int(self.facts["rows"])

    @property
    def entry(self) -> PartEntry:
        """The part as a manifest lists it."""
        return PartEntry(
            name=self.name,
            rows=self.rows,
            digest=self.digest,
            facts=self.facts,
            size=self.size,
            file_digest=self.file_digest,
        )


def commit_part(
    folder: Folder,
    name: str,
    rows: pa.Table,
    facts: Facts,
    input_digest: str,
    made_with: dict[str, str] | None = None,
) -> Committed:
    """Write a part in one atomic step; equal arguments and versions of libraries give equal bytes.

    `made_with` are the versions that the rows were made with, where these are not the ones here.
    """
    rows = _compact_copy(rows)
    facts = {"rows": rows.num_rows, **facts}
    content, made_with = digest(_ipc_bytes(rows)), versions() if made_with is None else made_with
    stored = content if _has_plain_types(rows) else _stored_digest(rows)
    described = {"facts": facts, "digest": content, "input": input_digest, "made_with": made_with, "stored": stored}
    footer = json.dumps(described, sort_keys=True)
    sink = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata({FACTS_KEY: footer}), sink, compression="zstd")
    data = sink.getvalue()
    folder.write(name, data)
    return Committed(name, facts, content, input_digest, made_with, len(data), digest(data))


def rows_digest(rows: pa.Table) -> str:
    """The digest of a part with these rows, as its footer and the manifest have it."""
    return digest(_ipc_bytes(_compact_copy(rows)))


def _stored_digest(rows: pa.Table) -> str:
    """The digest of compact rows without what Parquet does not keep: how the elements of lists are called."""
    return digest(_ipc_bytes(rows if _has_plain_types(rows) else rows.cast(_plain_schema(rows))))


def _has_plain_types(rows: pa.Table) -> bool:
    return bool(rows.schema.equals(_plain_schema(rows), check_metadata=True))


def _plain_schema(rows: pa.Table) -> pa.Schema:
    return pa.schema([pa.field(field.name, _plain_type(field.type)) for field in rows.schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    return kind


def _compact_copy(rows: pa.Table) -> pa.Table:
    """A copy in one chunk. A slice shares its table's buffers, and their bits beside the slice and under nulls vary."""
    return rows.replace_schema_metadata(None).take(pa.array(range(rows.num_rows), pa.int64())).combine_chunks()


def _ipc_bytes(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


def read_part(folder: Folder, name: str) -> Part:
    """Read a whole part.

    Raises:
        DamagedPart: it is not there or cannot be read.
    """
    with damage_named(folder, name):
        rows = pq.read_table(pa.BufferReader(folder.read(name)))
        footer = json.loads(rows.schema.metadata[FACTS_KEY])
        rows = rows.replace_schema_metadata(None)
        return Part(rows, footer["facts"], footer["digest"], footer.get("stored"))


@contextmanager
def damage_named(folder: Folder, name: str) -> Iterator[None]:
    """Name the part that cannot be read, and say how it is made again.

    Raises:
        DamagedPart: the block could not find it, or could make nothing of what it holds.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedPart(
            f"{folder.uri}/{name} is not there any more: the same command makes it again, and what follows from it"
        ) from error
    except _UNREADABLE as error:
        if _says_nothing_of_the_content(error):
            raise
        raise DamagedPart(
            f"{folder.uri}/{name} is damaged ({_first_line(error)}): delete it, and the same command makes it again"
        ) from error


_UNREADABLE = (pa.ArrowException, OSError, KeyError, TypeError, ValueError)
"""What reading bytes that are no part of ours raises: pyarrow for pages and footers, the others for our metadata."""


def _says_nothing_of_the_content(error: Exception) -> bool:
    """Whether the file could not be fetched, or not held in memory. pyarrow's OSErrors about content have no number."""
    is_of_storage = isinstance(error, OSError) and error.errno is not None
    return is_of_storage or isinstance(error, StorageUnreachable | pa.ArrowMemoryError)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def is_sound(folder: Folder, name: str) -> bool:
    """Whether a part can be read and holds the rows that were committed."""
    try:
        with damage_named(folder, name):
            return read_part(folder, name).is_whole
    except DamagedPart:
        return False


def read_rows(folder: Folder, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of all parts that the manifest lists, in the order of the parts; `columns` of them, or all."""
    manifest = read_manifest(folder)
    if manifest is None or not manifest.parts:
        none = schema.MAY_BE_EMPTY.get(manifest.stage if manifest else "", pa.schema([])).empty_table()
        return none if columns is None else none.select(list(columns))

    def read(name: str) -> pa.Table:
        with damage_named(folder, name), folder.open(name) as file:
            rows = pq.read_table(file, columns=None if columns is None else list(columns))
        return rows.replace_schema_metadata(None)

    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        return pa.concat_tables(pool.map(read, [entry.name for entry in manifest.parts]))


def read_committed(folder: Folder, names: Iterable[str]) -> dict[str, Committed]:
    """Read the footers of the named parts that exist; one that cannot be read counts as absent."""
    present = sorted({entry.name for entry in folder.entries()} & set(names))
    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        footers = pool.map(lambda name: read_footer(folder, name), present)
        return {found.name: found for found in footers if found is not None}


def read_footer(folder: Folder, name: str) -> Committed | None:
    """Read the footer of a part; None where there is no such part, or one that cannot be read."""
    try:
        with damage_named(folder, name), folder.open(name) as file:
            size, metadata = file.size(), pq.read_metadata(file).metadata
            footer = json.loads(metadata[FACTS_KEY])
            facts, content, source = footer["facts"], footer["digest"], footer["input"]
    except DamagedPart:
        return None
    return Committed(name, facts, content, source, footer.get("made_with", {}), size)


def read_manifest(folder: Folder) -> Manifest | None:
    """Read a folder's manifest; None where there is none yet.

    Raises:
        BadInput: it is damaged, or this package did not write it.
    """
    try:
        return Manifest.model_validate_json(folder.read(MANIFEST))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BadInput(
            f"{folder.uri}/{MANIFEST} is damaged: delete it, and the same command makes it again from the parts "
            f"({error.errors()[0]['msg']})"
        ) from error


def read_whole_manifest(folder: Folder) -> Manifest | None:
    """Read a folder's manifest as its files bear it out: by one listing, which is compared in names and sizes.

    Where files of committed parts are absent or of another size, the stage counts as not done and those parts as not
    committed; `damage` names them.
    """
    manifest = read_manifest(folder)
    if manifest is None or all(part.digest is None for part in manifest.parts):
        return manifest
    sizes = {entry.name: entry.size for entry in folder.entries()}
    committed = (part for part in manifest.parts if part.digest is not None)
    damage = {part.name: wrong for part in committed if (wrong := _wrong_with(part, sizes))}
    if not damage:
        return manifest
    parts = [PartEntry(name=part.name, rows=part.rows) if part.name in damage else part for part in manifest.parts]
    return manifest.model_copy(update={"parts": parts, "totals": None, "damage": damage})


def _wrong_with(part: PartEntry, sizes: Mapping[str, int]) -> str | None:
    if part.name not in sizes:
        return "is not there"
    if part.size is not None and part.size != sizes[part.name]:
        return f"has {sizes[part.name]:,} bytes, not {part.size:,}"
    return None


def part_names(folder: Folder) -> list[str]:
    """The parts that a folder's manifest lists; none where there is no manifest."""
    manifest = read_manifest(folder)
    return [entry.name for entry in manifest.parts] if manifest else []


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    """Write a folder's manifest."""
    folder.write(MANIFEST, manifest.model_dump_json(indent=1).encode())


def add_up(all_facts: Iterable[Facts]) -> Facts:
    """Add the facts of many parts."""
    totals: Facts = {}
    for facts in all_facts:
        for name, value in facts.items():
            totals[name] = totals.get(name, 0) + value
    return totals
