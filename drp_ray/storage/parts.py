"""A dataset on storage: a folder of Parquet parts and a manifest.

The Parquet footer of a part holds the part's facts (rows, error rows, tokens), a digest of its rows and the digest
of the input that it was made from. So the committed parts alone say how far a stage has come, and whether they
still fit their input.
"""

import io
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from drp_ray.errors import BadInput
from drp_ray.storage.fingerprint import digest
from drp_ray.storage.folder import Folder
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
    """A part that was read: its rows, its facts and the digest of its rows."""

    rows: pa.Table
    facts: Facts
    digest: str


class PartEntry(BaseModel):
    """A part in a manifest. `digest` and `facts` are known once the part is committed."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    digest: str | None = None
    facts: Facts = {}


class Manifest(BaseModel):
    """What a stage's folder holds, or will hold.

    `inputs` has the `content` of each input that the parts were made from. `totals` is None until every part is there.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    fingerprint: str
    made_from: dict[str, Any]
    inputs: dict[str, str]
    parts: list[PartEntry]
    wall_s: float = 0.0
    totals: Facts | None = None

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
    """

    name: str
    facts: Facts
    digest: str
    input_digest: str
    made_with: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows the part has."""
        return int(self.facts["rows"])

    @property
    def entry(self) -> PartEntry:
        """The part as a manifest lists it."""
        return PartEntry(name=self.name, rows=self.rows, digest=self.digest, facts=self.facts)


def commit_part(folder: Folder, name: str, rows: pa.Table, facts: Facts, input_digest: str) -> Committed:
    """Write a part in one atomic step; equal arguments and versions of libraries give equal bytes."""
    rows = _compact_copy(rows)
    facts = {"rows": rows.num_rows, **facts}
    committed = Committed(name, facts, digest(_ipc_bytes(rows)), input_digest, versions())
    described = {"facts": facts, "digest": committed.digest, "input": input_digest, "made_with": committed.made_with}
    footer = json.dumps(described, sort_keys=True)
    sink = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata({FACTS_KEY: footer}), sink, compression="zstd")
    folder.write(name, sink.getvalue())
    return committed


def rows_digest(rows: pa.Table) -> str:
    """The digest of a part with these rows, as its footer and the manifest have it."""
    return digest(_ipc_bytes(_compact_copy(rows)))


def _compact_copy(rows: pa.Table) -> pa.Table:
    """A copy in one chunk. A slice shares its table's buffers, and their bits beside the slice and under nulls vary."""
    return rows.replace_schema_metadata(None).take(pa.array(range(rows.num_rows), pa.int64())).combine_chunks()


def _ipc_bytes(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


def read_part(folder: Folder, name: str) -> Part:
    """Read a whole part."""
    rows = pq.read_table(pa.BufferReader(folder.read(name)))
    footer = json.loads(rows.schema.metadata[FACTS_KEY])
    return Part(rows.replace_schema_metadata(None), footer["facts"], footer["digest"])


def read_rows(folder: Folder, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of all parts that the manifest lists, in the order of the parts; `columns` of them, or all."""

    def read(name: str) -> pa.Table:
        with folder.open(name) as file:
            rows = pq.read_table(file, columns=None if columns is None else list(columns))
        return rows.replace_schema_metadata(None)

    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        return pa.concat_tables(pool.map(read, part_names(folder)))


def read_committed(folder: Folder, names: Iterable[str]) -> dict[str, Committed]:
    """Read the footers of the named parts that exist."""
    present = sorted({entry.name for entry in folder.entries()} & set(names))
    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        footers = pool.map(lambda name: read_footer(folder, name), present)
        return {found.name: found for found in footers if found is not None}


def read_footer(folder: Folder, name: str) -> Committed | None:
    """Read the footer of a part; None where there is no such part."""
    try:
        with folder.open(name) as file:
            footer = json.loads(pq.read_metadata(file).metadata[FACTS_KEY])
    except FileNotFoundError:
        return None
    return Committed(name, footer["facts"], footer["digest"], footer["input"], footer.get("made_with", {}))


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
