"""Whether what a job has made is still what it committed: names, sizes and digests of every file of its stages."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from drp_ray.errors import BadInput, JobFailed
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.result import METRICS_FILE
from drp_ray.job.run_record import RUN, read_record
from drp_ray.storage.fingerprint import digest
from drp_ray.storage.folder import Folder
from drp_ray.storage.lease import lease
from drp_ray.storage.parts import (
    FOOTER_READERS,
    MANIFEST,
    PartEntry,
    is_sound,
    read_footer,
    read_whole_manifest,
)

SET_ASIDE = ".damaged"
"""What stands behind the name of a part that is not read any more, so that the next run makes it again."""

LEASE_TTL_S = 3.0


@dataclass(frozen=True)
class Damage:
    """A file that is not what it was, and what is wrong with it.

    Where the next run does not make it again by itself, `wrong` says what to do.
    """

    folder: Folder
    name: str
    wrong: str
    is_made_again: bool = True

    def __str__(self) -> str:
        return f"{self.folder.uri}/{self.name} {self.wrong}"


def verify(job: OpenedJob, deep: bool = False) -> list[Damage]:
    """Find what is damaged: by names, sizes and the digests in footers; `deep` also by the rows of every part.

    A part whose name and size are right is set aside under another name: else no run would see that it is damaged.
    """
    stages = [damage for info in job.plan.stages.values() for damage in _damage_of_stage(info.folder, deep)]
    return [*stages, *_damage_of_run(job.run_folder)]


def remedy(found: Sequence[Damage]) -> str:
    """What makes damaged files whole again, in a line."""
    left = sum(not damage.is_made_again for damage in found)
    if not left:
        return "the command that made the run makes them again"
    return f"do what is said of {left:,} of them, and the command that made the run makes all of them again"


def _damage_of_stage(folder: Folder, deep: bool) -> list[Damage]:
    try:
        manifest = read_whole_manifest(folder)
    except BadInput as error:
        return [Damage(folder, MANIFEST, f"cannot be read: {error}", is_made_again=False)]
    if manifest is None:
        return []
    seen = [Damage(folder, name, wrong) for name, wrong in manifest.damage.items()]
    present = {entry.name for entry in folder.entries()}
    others = [part for part in manifest.parts if part.name in present and part.name not in manifest.damage]
    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        wrongs = list(pool.map(lambda part: _wrong_with_rows(folder, part, deep), others))
    unseen = [Damage(folder, part.name, wrong) for part, wrong in zip(others, wrongs, strict=True) if wrong]
    return [*seen, *_set_aside(folder, unseen)]


def _wrong_with_rows(folder: Folder, part: PartEntry, deep: bool) -> str | None:
    footer = read_footer(folder, part.name)
    if footer is None:
        return "has no footer that can be read"
    if part.digest is not None and footer.digest != part.digest:
        return "holds other rows than were committed"
    if not deep:
        return None
    if part.file_digest is not None and digest(folder.read(part.name)) != part.file_digest:
        return "has other bytes than were committed"
    return None if is_sound(folder, part.name) else "has rows that cannot be read, or others than its digest says"


def _set_aside(folder: Folder, found: list[Damage]) -> list[Damage]:
    """Rename damaged parts while no job works on the stage."""
    if not found:
        return []
    try:
        with lease(folder, LEASE_TTL_S):
            return [_renamed(damage) for damage in found]
    except (BadInput, JobFailed) as error:
        why = f"no run sees that before the file is set aside or deleted; it could not be set aside: {error}"
        return [replace(damage, wrong=f"{damage.wrong}; {why}", is_made_again=False) for damage in found]


def _renamed(damage: Damage) -> Damage:
    name = f"{damage.name}{SET_ASIDE}"
    damage.folder.write(name, damage.folder.read(damage.name))
    damage.folder.delete(damage.name)
    return replace(damage, wrong=f"{damage.wrong}; it was set aside as {name}")


def _damage_of_run(folder: Folder) -> Iterator[Damage]:
    try:
        read_record(folder)
    except BadInput as error:
        yield Damage(folder, RUN, f"cannot be read: {error}", is_made_again=False)
    try:
        json.loads(folder.read(METRICS_FILE))
    except FileNotFoundError:  # a run that is not finished has none
        return
    except ValueError as error:
        yield Damage(folder, METRICS_FILE, f"cannot be read ({error}): the next run writes it again")
