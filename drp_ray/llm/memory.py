"""Takes rows over from earlier folders of a stage: those whose content, all that their answer depends on, is the same.

A folder is named after its inputs, so that a dataset that grew by one review gives every stage a new one. The folders
beside it, of the same stage with the same settings, hold most of its rows already. What a row of theirs was made from
is read from the part that its part was made from; nothing is written for it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from drp_ray.running.worker import Key, keys_of
from drp_ray.schema import Row
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import DamagedPart, Facts, read_committed, read_manifest, read_part

REUSED = "reused"
"""The fact of a part that counts its rows that were taken over; `reused_…` are their tokens, which were paid before."""

FORGOTTEN = "forgotten"
"""The fact of a part of `users` that counts whom `drp-ray forget` removed; of parts that models answered, `forgotten_…`
are tokens that were paid for rows that it removed."""

REPLACED = "replaced"
"""`replaced_…` are the facts of a part that count the tokens of error rows in whose place a repetition put others."""

ALTERED = "altered.json"
"""The keys of rows, in a stage's folder, whose answers were given to other content than their input holds now."""


class Earlier(NamedTuple):
    """A folder with rows of the stage, and the one that it was made from."""

    made: Folder
    source: Folder


class Content(NamedTuple):
    """What the answer of one row depends on, besides the stage's settings, and the row's keys in the stage."""

    digest: bytes
    key: Key


class _Place(NamedTuple):
    folder: int
    part: str
    key: Key


ContentsOf = Callable[[pa.Table], Sequence[Content]]
"""The contents of the rows that an input part asks for."""


def content_digest(key: str, content: Any) -> bytes:
    """A digest of what a row's answer depends on; `key` is what its seeds are drawn for."""
    return hashlib.sha256(json.dumps([key, content], sort_keys=True).encode()).digest()


def paid(facts: Facts, name: str) -> float:
    """How many tokens of a kind were paid for a part: not for rows that were taken over, but for rows that are gone."""
    gone = sum(facts.get(f"{kind}_{name}", 0.0) for kind in (FORGOTTEN, REPLACED))
    return facts.get(name, 0.0) - facts.get(f"{REUSED}_{name}", 0.0) + gone


def altered_rows(folder: Folder) -> frozenset[Key]:
    """The rows of a stage's folder that `ALTERED` names."""
    try:
        return frozenset(map(tuple, json.loads(folder.read(ALTERED))))
    except FileNotFoundError:
        return frozenset()


@dataclass
class Memory:
    """The rows of earlier folders, found by content. Only what is ok is taken over, the newest folder's first."""

    earlier: tuple[Earlier, ...] = ()
    _places: dict[bytes, _Place] = field(default_factory=dict, init=False, repr=False)

    def learn(self, contents_of: ContentsOf) -> None:
        """Find out what the earlier folders have: reads all their parts once.

        An answer that was given to other content than its row's input holds now is not among it.
        """
        for number, (made, source) in enumerate(self.earlier):
            manifest = read_manifest(made)
            committed = read_committed(made, [entry.name for entry in manifest.parts] if manifest else [])
            altered = altered_rows(made)
            for part, footer in sorted(committed.items()):
                try:
                    asked = read_part(source, part)
                except DamagedPart:
                    continue
                if asked.digest == footer.input_digest:
                    for content in contents_of(asked.rows):
                        if content.key not in altered:
                            self._places.setdefault(content.digest, _Place(number, part, content.key))

    def rows(self, wanted: Sequence[Content], keys: tuple[str, ...]) -> dict[bytes, Row]:
        """The rows with some contents, by digest, as they were made."""
        by_part: dict[tuple[int, str], list[tuple[bytes, Key]]] = {}
        for content in wanted:
            place = self._places.get(content.digest)
            if place is not None:
                by_part.setdefault((place.folder, place.part), []).append((content.digest, place.key))
        found: dict[bytes, Row] = {}
        for (number, part), asked in by_part.items():
            rows = self._ok_rows(number, part, keys)
            found |= {digest: rows[key] for digest, key in asked if key in rows}
        return found

    def _ok_rows(self, number: int, part: str, keys: tuple[str, ...]) -> Mapping[Key, Row]:
        try:
            rows = read_part(self.earlier[number].made, part).rows
        except DamagedPart:
            return {}
        named = zip(keys_of(rows, keys), rows.to_pylist(), strict=True)
        return {key: row for key, row in named if row["status"] == "ok"}


def earlier_folders(
    stage_folder: Folder, own: str, source_folder: Folder, source: str, made_from: Mapping[str, Any]
) -> tuple[Earlier, ...]:
    """The folders of a stage with the same version and settings, other than its own, and what each was made from.

    Args:
        stage_folder: where all folders of the stage are.
        own: the fingerprint of the folder that is to be made.
        source_folder: where all folders of the stage's first input are.
        source: the name of this input.
        made_from: the stage's `version` and `settings`.
    """
    found = []
    for fingerprint in sorted(set(stage_folder.folders()) - {own}):
        manifest = read_manifest(stage_folder.at(fingerprint))
        there = manifest.made_from if manifest is not None else {}
        is_alike = all(there.get(name) == value for name, value in made_from.items())
        if is_alike and source in there.get("inputs", {}):
            found.append(Earlier(stage_folder.at(fingerprint), source_folder.at(there["inputs"][source])))
    return tuple(found)
