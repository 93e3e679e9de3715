"""What was asked and thought, kept beside the rows of a stage in parts of its own (`runtime.keep`).

A kept part is written before the part that it belongs to is committed, and its footer has the digest of that part's
rows: so a part whose calls were not kept, or whose kept calls are of other rows, is found. Nothing of it changes a row:
it is not in the fingerprint, and a part that was made without it stays without it.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from drp_ray.llm.row_caller import Exchange
from drp_ray.running.worker import Key
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Manifest, commit_part, read_committed, read_footer, read_part, rows_digest

KEPT = "kept"
"""The folder of kept parts inside a stage's folder."""


@dataclass(frozen=True)
class KeepSettings:
    """What is kept and where. By default nothing is."""

    folder: Folder | None = None
    thinking: bool = False
    prompts: bool = False

    def write(
        self,
        part: str,
        rows: pa.Table,
        keys: Sequence[str],
        exchanges: Mapping[Key, list[Exchange]],
        taken: Collection[Key],
    ) -> None:
        """Write the calls of a part with `rows`: new ones, and the earlier ones of rows that were `taken` over.

        Where nothing is kept any more, what was kept of rows that are made again goes: it is about other replies.
        """
        if self.folder is None or not (self.is_keeping or read_footer(self.folder, part)):
            return
        calls = self._new(keys, exchanges) if self.is_keeping else []
        calls += self._earlier(part, keys, taken)
        schema = kept_schema([rows.schema.field(key) for key in keys])
        commit_part(self.folder, part, pa.Table.from_pylist(calls, schema), {}, rows_digest(rows))

    @property
    def is_keeping(self) -> bool:
        """Whether anything is kept."""
        return self.thinking or self.prompts

    def _new(self, keys: Sequence[str], exchanges: Mapping[Key, list[Exchange]]) -> list[dict[str, object]]:
        return [
            {**dict(zip(keys, key, strict=True)), "call": number, **self._columns(exchange)}
            for key, calls in exchanges.items()
            for number, exchange in enumerate(calls)
        ]

    def _columns(self, exchange: Exchange) -> dict[str, str | None]:
        return {
            "role": exchange.role,
            "thinking": exchange.thinking if self.thinking else None,
            "prompt": json.dumps(exchange.messages, ensure_ascii=False) if self.prompts else None,
            "answer": exchange.answer,
        }

    def _earlier(self, part: str, keys: Sequence[str], taken: Collection[Key]) -> list[dict[str, object]]:
        if self.folder is None or not taken or read_footer(self.folder, part) is None:
            return []
        rows = read_part(self.folder, part).rows.to_pylist()
        return [row for row in rows if tuple(row[name] for name in keys) in taken]


def parts_without_kept(folder: Folder, manifest: Manifest) -> list[str]:
    """The parts of a stage whose calls were not kept, or whose kept calls belong to other rows."""
    kept = read_committed(folder.at(KEPT), (part.name for part in manifest.parts))
    return [
        part.name for part in manifest.parts if part.name not in kept or kept[part.name].input_digest != part.digest
    ]


def kept_schema(keys: Sequence[pa.Field]) -> pa.Schema:
    """The columns of a kept part: the row's keys, the number of the call, its role, and what was asked and answered.

    `prompt` is a JSON list of messages; `thinking` and `prompt` are null where they are not kept.
    """
    texts = ("role", "thinking", "prompt", "answer")
    return pa.schema([*keys, ("call", pa.int32()), *((name, pa.string()) for name in texts)])
