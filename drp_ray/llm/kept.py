"""What was asked and thought, kept beside the rows of a stage in parts of its own (`runtime.keep`).

A kept part is written before the part that it belongs to is committed, so whatever is committed has its kept part.
Nothing of it changes a row: it is not in the fingerprint, and a stage that was made without it stays without it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from drp_ray.llm.row_caller import Exchange
from drp_ray.running.worker import Key
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import commit_part, read_footer, read_part

KEPT = "kept"
"""The folder of kept parts inside a stage's folder."""


@dataclass(frozen=True)
class KeepSettings:
    """What is kept and where. By default nothing is."""

    folder: Folder | None = None
    thinking: bool = False
    prompts: bool = False

    def write(self, part: str, keys: Sequence[str], exchanges: Mapping[Key, list[Exchange]]) -> None:
        """Write the calls of a part's rows; rows that are not among them keep what was written before.

        Where nothing is kept any more, what was kept of rows that are made again goes: it is about other replies.
        """
        if self.folder is None or not (self.is_keeping or read_footer(self.folder, part)):
            return
        schema = kept_schema(keys)
        rows = self._new(keys, exchanges) if self.is_keeping else []
        rows += self._earlier(part, keys, exchanges)
        commit_part(self.folder, part, pa.Table.from_pylist(rows, schema), {}, "")

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

    def _earlier(self, part: str, keys: Sequence[str], replaced: Mapping[Key, object]) -> list[dict[str, object]]:
        if self.folder is None or read_footer(self.folder, part) is None:
            return []
        rows = read_part(self.folder, part).rows.to_pylist()
        return [row for row in rows if tuple(row[name] for name in keys) not in replaced]


def kept_schema(keys: Sequence[str]) -> pa.Schema:
    """The columns of a kept part: the row's keys, the number of the call, its role, and what was asked and answered.

    `prompt` is a JSON list of messages; `thinking` and `prompt` are null where they are not kept.
    """
    texts = ("role", "thinking", "prompt", "answer")
    return pa.schema(
        [*(pa.field(key, pa.string()) for key in keys), ("call", pa.int32()), *((name, pa.string()) for name in texts)]
    )
