"""What is there of a stage and what is not, as pure functions of manifests and of what committed parts say."""

from collections.abc import Mapping
from dataclasses import dataclass

from drp_ray.storage.parts import Committed, Facts, Manifest, PartEntry, add_up


@dataclass(frozen=True)
class Survey:
    """What is there of a stage and what is not: a pure function of a manifest and of committed parts.

    `replaced` has the digests of those committed parts that are pending again.
    """

    done: Mapping[str, Committed]
    pending: tuple[PartEntry, ...]
    replaced: Mapping[str, str]


def survey(source: Manifest, committed: Mapping[str, Committed], expected_rows: str, retry_errors: bool) -> Survey:
    """Find the pending parts, largest first so that no long part is left for the end.

    A part is pending where it is absent, was made from another input than the one that is there now, or holds
    error rows that are to be tried again.
    """
    done, pending = {}, []
    for entry in source.parts:
        found = committed.get(entry.name)
        if found is None or found.input_digest != entry.digest or (retry_errors and can_improve(found.facts)):
            pending.append(entry)
        else:
            done[entry.name] = found
    pending.sort(key=lambda entry: (-entry.facts.get(expected_rows, entry.rows), entry.name))
    replaced = {entry.name: committed[entry.name].digest for entry in pending if entry.name in committed}
    return Survey(done, tuple(pending), replaced)


def is_current(manifest: Manifest | None, manifests: Mapping[str, Manifest | None]) -> bool:
    """Whether a stage is done and was made from what its inputs hold now."""
    if manifest is None or not manifest.is_done:
        return False
    sources = {name: manifests.get(name) for name in manifest.inputs}
    return all(
        source is not None and source.is_done and source.content == manifest.inputs[name]
        for name, source in sources.items()
    )


def can_improve(facts: Facts | None) -> bool:
    """Whether `--retry-errors` would do a part again: it has error rows, or rows that lack something."""
    return facts is not None and bool(facts.get("errors") or facts.get("retryable"))


def filled_in(manifest: Manifest, done: Mapping[str, Committed], wall_s: float) -> Manifest:
    """The manifest with what was committed; with totals where that is everything."""
    parts = [done[part.name].entry if part.name in done else part for part in manifest.parts]
    complete = len(done) == len(manifest.parts)
    totals = {"rows": 0, **add_up(part.facts for part in parts)} if complete else None
    return manifest.model_copy(update={"parts": parts, "wall_s": wall_s, "totals": totals})
