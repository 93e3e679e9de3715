"""Removes a person from all that was made of a dataset, and keeps what is left fit for use.

Every part that names them, or holds a review of theirs, is written again without them. Its digest changes, so the parts
made from it get a new footer too, and manifests follow: to every stage its inputs are what they were, and nothing is
made again. What others' models wrote after they had seen the person's reviews is about those others, and stays; which
answers these are is noted beside them, so that no later run takes them for answers to what is left.

It can be cut short anywhere. What is known of the person, and the digests that change, are written down before the
first part of a stage is replaced, and the same call goes on from there.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from drp_ray.errors import BadInput, JobFailed
from drp_ray.job.opened_job import open_job
from drp_ray.job.person import Person, altered_keys, facts_after
from drp_ray.job.result import METRICS_FILE
from drp_ray.job.run import result_of
from drp_ray.job.run_record import read_record, recorded_config
from drp_ray.job.verify import SET_ASIDE
from drp_ray.llm.kept import KEPT
from drp_ray.llm.memory import ALTERED, FORGOTTEN, altered_rows
from drp_ray.running.cluster import Say
from drp_ray.running.worker import Key
from drp_ray.stages.asking import REUSED_FROM
from drp_ray.stages.order import STAGES
from drp_ray.stages.stage import base_name
from drp_ray.storage.fingerprint import digest
from drp_ray.storage.folder import Folder
from drp_ray.storage.lease import optional_lease
from drp_ray.storage.parts import (
    Committed,
    DamagedPart,
    Facts,
    Part,
    PartEntry,
    add_up,
    commit_part,
    read_committed,
    read_footer,
    read_manifest,
    read_part,
    rows_digest,
    write_manifest,
)

JOURNAL = "forget.json"
"""What is left of a removal that was cut short, in the folder of the dataset's results."""

TELLING = ("users", "items", "comparisons", "peers", "controls")
"""The stages that tell what the person wrote, and who was shown it."""


@dataclass(frozen=True)
class Forgotten:
    """What a removal changed: rows that went and parts that were written again, by stage."""

    rows: Mapping[str, int]
    parts: Mapping[str, int]


@dataclass
class _Journal:
    """The person, and the digests of parts and of whole stages that change, earlier to new.

    `altered` has, by the earlier digest of a part that models answered, the rows of others that change in it.
    """

    folder: Folder
    person: Person
    say: Say
    digests: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    altered: dict[str, list[Key]] = field(default_factory=dict)
    is_continued: bool = False

    def write(self) -> None:
        person = {name: sorted(getattr(self.person, name), key=str) for name in ("text_ids", "shared", "shown_to")}
        changes = {"digests": self.digests, "contents": self.contents, "altered": self.altered}
        content = {"user_id": self.person.user_id, **person, **changes}
        self.folder.write(JOURNAL, json.dumps(content).encode())


def forget(
    root: Folder, names: Sequence[str], ttl_s: float | None, say: Say, refresh: Callable[[Folder], object]
) -> dict[str, Forgotten]:
    """Remove a person from the results of every dataset under a root, by the dataset's name.

    Args:
        root: a job's `root`.
        names: what results call the person: the user id, and a pseudonym where there may be one.
        ttl_s: the time to live of the leases that are held on the folders; None takes none.
        say: gets a line for every stage that changed.
        refresh: is called with the folder of every run of a dataset in which something changed.

    Raises:
        BadInput: there are no results, or the removal of somebody else was cut short.
        JobFailed: a job works on one of the folders; what was done stays, and the same call goes on.
    """
    found: dict[str, Forgotten] = {}
    for dataset in root.folders():
        folder = root.at(dataset)
        stages = list(_stage_folders(folder))
        if stages:
            each = [_forget_in(folder, stages, name, ttl_s, say, refresh) for name in _in_turn(folder, names)]
            found[dataset] = Forgotten(_added(one.rows for one in each), _added(one.parts for one in each))
    if not found:
        raise BadInput(f"{root.uri}: no results of jobs are here; give a job's root")
    return found


def _added(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    added: Counter[str] = Counter()
    for each in counts:
        added.update(each)
    return added


def _in_turn(dataset: Folder, names: Sequence[str]) -> list[str]:
    """The names of a person, first the one whose removal was cut short.

    Raises:
        BadInput: the removal of somebody else was.
    """
    if not _has(dataset, JOURNAL):
        return list(names)
    begun = json.loads(dataset.read(JOURNAL))["user_id"]
    if begun not in names:
        raise BadInput(f"{dataset.uri}: the removal of {begun!r} was cut short; finish it first")
    return sorted(names, key=lambda name: name != begun)


def _stage_folders(dataset: Folder) -> Iterator[tuple[str, Folder]]:
    """The stages' folders, a stage's inputs before it."""
    order = [stage.name for stage in STAGES]
    names = [name for name in dataset.folders() if base_name(name) in order]
    for name in sorted(names, key=lambda name: (order.index(base_name(name)), name)):
        for fingerprint in dataset.at(name).folders():
            yield name, dataset.at(name, fingerprint)


def _forget_in(
    dataset: Folder,
    stages: list[tuple[str, Folder]],
    user_id: str,
    ttl_s: float | None,
    say: Say,
    refresh: Callable[[Folder], object],
) -> Forgotten:
    journal = _opened(dataset, user_id, say)
    _learn(journal, stages, TELLING)
    # Again: whether somebody else wrote one of their reviews too is known once all of theirs are.
    _learn(journal, stages, ("items",))
    rows: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for stage, folder in stages:
        with optional_lease(folder, ttl_s) as check:
            removed, written = _forget_in_stage(journal, base_name(stage), folder, check)
        if written:
            say(f"{folder.uri}: {removed:,} rows removed, {written:,} parts written again")
            rows[stage] += removed
            parts[stage] += written
    if parts or journal.is_continued:
        _remove_pages(dataset, say)
        for name in dataset.at("runs").folders():
            refresh(dataset.at("runs", name))
    dataset.delete(JOURNAL)
    return Forgotten(rows, parts)


def result_again(run: Folder, say: Say) -> None:
    """Compute the numbers of a finished run anew, or remove them, and say which.

    They go where the dataset is not there or no longer what it was. The scores of the users who are left stay, and can
    be compared and exported.
    """
    record = read_record(run)
    if record is None or not _has(run, METRICS_FILE):
        return
    try:
        # Where the run is now, which may have been moved.
        root = run.uri.rsplit("/", 3)[0]
        job = open_job(recorded_config(record, run.uri).model_copy(update={"root": root}))
        result_of(job, job.plan.stages, say)
    except (BadInput, JobFailed) as error:
        run.delete(METRICS_FILE)
        say(f"{run.uri}: {METRICS_FILE} was removed, since it cannot be made anew ({error})")
    else:
        say(f"{run.uri}: {METRICS_FILE} was made anew")


def _remove_pages(dataset: Folder, say: Say) -> None:
    """Reports of runs and of sweeps hold reviews, unless they were made without: they go."""
    for kind in ("runs", "sweeps"):
        for name in dataset.at(kind).folders():
            folder = dataset.at(kind, name)
            for entry in folder.entries():
                if entry.name.endswith((".html", ".htm")):
                    folder.delete(entry.name)
                    say(f"{folder.uri}/{entry.name} was removed; drp-ray report writes it again")


def _opened(dataset: Folder, user_id: str, say: Say) -> _Journal:
    if not _has(dataset, JOURNAL):
        return _Journal(dataset, Person(user_id), say)
    earlier: dict[str, Any] = json.loads(dataset.read(JOURNAL))
    calls = frozenset((user, item) for user, item in earlier["shown_to"])
    person = Person(user_id, frozenset(earlier["text_ids"]), frozenset(earlier["shared"]), calls)
    altered = {part: [tuple(key) for key in keys] for part, keys in earlier.get("altered", {}).items()}
    return _Journal(dataset, person, say, earlier["digests"], earlier["contents"], altered, is_continued=True)


def _learn(journal: _Journal, stages: Iterable[tuple[str, Folder]], telling: Sequence[str]) -> None:
    for name, folder in stages:
        stage = base_name(name)
        for part in _parts(folder) if stage in telling else ():
            read = _read_or_remove(journal, folder, part)
            if read is not None:
                journal.person = journal.person.learned(stage, read.rows)


def _read_or_remove(journal: _Journal, folder: Folder, name: str) -> Part | None:
    """A part; one that cannot be read may hold anybody, and goes."""
    try:
        return read_part(folder, name)
    except DamagedPart as error:
        folder.delete(name)
        journal.say(f"{error}: it was removed")
        return None


def _parts(folder: Folder) -> list[str]:
    return [entry.name for entry in folder.entries() if entry.name.endswith(".parquet")]


def _has(folder: Folder, name: str) -> bool:
    return name in {entry.name for entry in folder.entries()}


def _forget_in_stage(journal: _Journal, stage: str, folder: Folder, check: Callable[[], None]) -> tuple[int, int]:
    """Write a stage without the person; how many rows went, and how many parts were written again."""
    for entry in folder.entries():
        if entry.name.endswith(SET_ASIDE):
            folder.delete(entry.name)
    names = _parts(folder)
    changing = [name for name in names if _note_change(journal, stage, folder, name)]
    if changing:
        journal.write()
    if stage in REUSED_FROM:
        _note_altered(journal, folder, changing)
    removed = 0
    for name in changing:
        check()
        removed += _replace(journal, stage, folder, name)
    kept = [name for name in _parts(folder.at(KEPT)) if _replace_calls(journal, folder.at(KEPT), name)]
    _replace_manifest(journal, folder, names if journal.is_continued else changing)
    return removed, len(changing) + len(kept)


def _note_change(journal: _Journal, stage: str, folder: Folder, name: str) -> bool:
    """Whether a part has to be written again; the digest that it then has is noted."""
    part = _read_or_remove(journal, folder, name)
    if part is None:
        return False
    after = journal.person.removed_from(stage, part.rows)
    if not after.equals(part.rows):
        journal.digests[part.digest] = rows_digest(after)
        if stage in REUSED_FROM.values():
            journal.altered[part.digest] = altered_keys(part.rows, after)
        return True
    return _follows_a_change(journal, folder, name)


def _note_altered(journal: _Journal, folder: Folder, names: Sequence[str]) -> None:
    """Note which answers were given to rows that hold something else now, before their parts say that they fit."""
    earlier = altered_rows(folder)
    sources = [part.input_digest for part in read_committed(folder, names).values()]
    found = earlier.union(*(journal.altered.get(source, ()) for source in sources))
    now = sorted(key for key in found if key[0] != journal.person.user_id)
    if set(now) != earlier:
        folder.write(ALTERED, json.dumps(now).encode())


def _replace(journal: _Journal, stage: str, folder: Folder, name: str) -> int:
    """Write a part without the person; how many rows went."""
    part = read_part(folder, name)
    after = journal.person.removed_from(stage, part.rows)
    facts = facts_after(stage, part.facts, part.rows, after)
    removed: int = part.rows.num_rows - after.num_rows
    if stage == "users" and removed:
        facts[FORGOTTEN] = facts.get(FORGOTTEN, 0) + removed
    _commit_again(journal, folder, name, after, facts)
    return removed


def _commit_again(journal: _Journal, folder: Folder, name: str, rows: pa.Table, facts: Facts) -> None:
    """Write a part as made from what its input holds now, with what its rows were made with."""
    earlier = read_footer(folder, name)
    if earlier is None:
        raise DamagedPart(f"{folder.uri}/{name} went while it was written again: the same command goes on")
    made_from = journal.digests.get(earlier.input_digest, earlier.input_digest)
    commit_part(folder, name, rows, facts, made_from, earlier.made_with)


def _replace_calls(journal: _Journal, folder: Folder, name: str) -> bool:
    """Write the kept calls of a part without the person; whether that changed anything."""
    part = _read_or_remove(journal, folder, name)
    if part is None:
        return True
    after = journal.person.removed_from_calls(part.rows)
    if after.equals(part.rows) and not _follows_a_change(journal, folder, name):
        return False
    _commit_again(journal, folder, name, after, {})
    return True


def _follows_a_change(journal: _Journal, folder: Folder, name: str) -> bool:
    """Whether what a part was made from has another digest now."""
    footer = read_footer(folder, name)
    return footer is not None and footer.input_digest in journal.digests


def _entry_now(folder: Folder, entry: PartEntry, committed: Committed) -> PartEntry:
    """A part as the manifest is to list it; a digest of its bytes stays one of its bytes."""
    bytes_now = digest(folder.read(entry.name)) if entry.file_digest is not None else None
    return committed.entry.model_copy(update={"file_digest": bytes_now})


def _replace_manifest(journal: _Journal, folder: Folder, written: Sequence[str]) -> None:
    """Let a manifest say what the parts that were written are now, and what the inputs are now."""
    manifest = read_manifest(folder)
    if manifest is None:
        return
    done = read_committed(
        folder, (part.name for part in manifest.parts if part.digest is not None and part.name in written)
    )
    parts = [_entry_now(folder, entry, done[entry.name]) if entry.name in done else entry for entry in manifest.parts]
    totals = {"rows": 0, **add_up(part.facts for part in parts)} if manifest.is_done else None
    inputs = {name: journal.contents.get(content, content) for name, content in manifest.inputs.items()}
    now = manifest.model_copy(update={"parts": parts, "inputs": inputs, "totals": totals})
    if now != manifest:
        journal.contents[manifest.content] = now.content
        journal.write()
        write_manifest(folder, now)
