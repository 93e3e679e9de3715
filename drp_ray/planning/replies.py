"""What is known of a model's replies before a run: real ones (of earlier runs or `--calibrate`), or a stated length.

Where nothing is known a reply is taken to be as long as `max_tokens` lets it be: a bound, and said to be one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from drp_ray.errors import BadInput, nearest
from drp_ray.planning.asked import Reply
from drp_ray.planning.tokens import Tokenizer
from drp_ray.stages.stage import base_name
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import read_manifest, read_part

Basis = Literal["measured", "stated", "at most"]
MOST_REPLIES = 512
"""Replies of a role that are kept to draw from."""

TEXTS_OF_ROLES: Mapping[str, Mapping[str, str]] = {
    "differences": {"extractor": "extracted", "validator": "validated"},
    "predictions": {"summarizer": "summary", "generator": "prediction"},
    "judgements": {"judge": "answer"},
    "control_judgements": {"judge": "answer"},
}
"""The columns with what each role said, by stage; a call of a role leaves one text."""


class Known(NamedTuple):
    """Replies to draw from, how they are known, and where from."""

    replies: Sequence[Reply]
    basis: Basis
    source: str


@dataclass(frozen=True)
class Lengths:
    """Stated mean lengths of replies by role, in tokens."""

    by_role: Mapping[str, int]

    @classmethod
    def parse(cls, options: Iterable[str], roles: Sequence[str]) -> "Lengths":
        """Read `ROLE=TOKENS`.

        Raises:
            BadInput: there is no such role, or no whole number from 1 up.
        """
        found = {}
        for option in options:
            role, _, tokens = option.partition("=")
            if role not in roles:
                raise BadInput(f"--reply-tokens {option}: there is no role {role!r}; {nearest(role, roles)}")
            if not tokens.isdecimal() or int(tokens) < 1:
                raise BadInput(f"--reply-tokens {option}: write ROLE=TOKENS, with a whole number from 1 up")
            found[role] = int(tokens)
        return cls(found)


def replies_of_length(tokens: int, filler: str, tokenizer: Tokenizer) -> list[Reply]:
    """A reply of so many tokens, made of a text that users wrote."""
    one = max(len(tokenizer.of_text(filler)), 1)
    repeated = " ".join([filler] * (tokens // one + 1))
    return [Reply(tokenizer.first(repeated, tokens).strip() or "…", tokens)]


def earlier_replies(
    datasets: Sequence[Folder], stage: str, settings: Mapping[str, Any], role: str, tokenizer: Tokenizer, thinks: bool
) -> Known | None:
    """Replies of the same model to the same templates in that role, by any run under the root; None where none is.

    What a row's replies cost is known for the row as a whole, and shared out by the lengths of its texts.
    """
    columns = TEXTS_OF_ROLES.get(base_name(stage), {})
    if role not in columns:
        return None
    for dataset in datasets:
        for folder in _alike(dataset, stage, settings, role):
            replies = list(islice(_replies_in(folder, columns, role, tokenizer, thinks), MOST_REPLIES))
            if replies:
                return Known(replies, "measured", folder.uri)
    return None


def _alike(dataset: Folder, stage: str, settings: Mapping[str, Any], role: str) -> Iterator[Folder]:
    """The folders of a stage that the same model made with the same templates."""
    for name in (name for name in dataset.folders() if base_name(name) == base_name(stage)):
        for fingerprint in sorted(dataset.at(name).folders()):
            manifest = read_manifest(dataset.at(name, fingerprint))
            there = manifest.made_from.get("settings", {}) if manifest else {}
            if manifest and _asks_alike(there, settings, role):
                yield dataset.at(name, fingerprint)


def _asks_alike(there: Mapping[str, Any], here: Mapping[str, Any], role: str) -> bool:
    models = [each.get("roles", {}).get(role, {}).get("model") for each in (there, here)]
    return models[0] == models[1] and all(there.get(key) == here.get(key) for key in ("programme", "prompts"))


def _replies_in(
    folder: Folder, columns: Mapping[str, str], role: str, tokenizer: Tokenizer, thinks: bool
) -> Iterator[Reply]:
    names = {entry.name for entry in folder.entries()}
    manifest = read_manifest(folder)
    for entry in manifest.parts if manifest else []:
        rows = read_part(folder, entry.name).rows.to_pylist() if entry.name in names else []
        for row in rows:
            if row["status"] == "ok" and row[columns[role]] and row["completion_tokens"]:
                lengths = {each: len(tokenizer.of_text(row[column] or "")) for each, column in columns.items()}
                share = lengths[role] / max(sum(lengths.values()), 1)
                text = row[columns[role]]
                yield Reply(f"</think>\n{text}" if thinks else text, max(round(row["completion_tokens"] * share), 1))
