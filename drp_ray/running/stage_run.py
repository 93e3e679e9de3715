"""One stage while its parts are made: what is done, what is left, and the manifest that says so."""

import time
from collections.abc import Callable, Iterator, Set

from drp_ray.errors import DatasetChanged
from drp_ray.running.dealing import PartToDo
from drp_ray.running.progress import Amount
from drp_ray.running.stage_info import PartStage
from drp_ray.running.survey import filled_in, survey
from drp_ray.storage.folder import Folder, impatient
from drp_ray.storage.parts import (
    Committed,
    Manifest,
    PartEntry,
    is_sound,
    read_committed,
    read_whole_manifest,
    write_manifest,
)


class StageRun:
    """What is done of a stage, from the survey of its folder on. Its lease is held meanwhile."""

    def __init__(self, stage: PartStage, source: Manifest, retry_errors: bool, check_lease: Callable[[], None]) -> None:
        folder = stage.info.folder
        self.stage, self._check_lease, self._began = stage, check_lease, time.monotonic()
        self._share = 1.0
        earlier = read_whole_manifest(folder)
        _delete_damaged(folder, earlier)
        committed = read_committed(folder, (entry.name for entry in source.parts))
        self._found = survey(source, committed, stage.expected_rows, retry_errors)
        self._wall_before = earlier.wall_s if earlier is not None else 0.0
        self._unfinished = Manifest(
            stage=stage.info.name,
            fingerprint=stage.info.fingerprint,
            made_from=dict(stage.info.made_from),
            inputs={source.stage: source.content},
            parts=[PartEntry(name=entry.name, rows=_expected_rows(stage, entry)) for entry in source.parts],
            wall_s=self._wall_before,
        )
        write_manifest(folder, self._unfinished)
        self._done = dict(self._found.done)

    def take_share(self, rows_of_all: int) -> None:
        """Count of the time that passes what this stage's rows are of the rows that are made together."""
        self._share = self.left.rows / rows_of_all if rows_of_all else 1.0

    @property
    def total(self) -> Amount:
        """All parts, and the rows that they are expected to have."""
        return Amount(len(self._unfinished.parts), sum(part.rows for part in self._unfinished.parts))

    @property
    def amount_done(self) -> Amount:
        """What is done of it."""
        return Amount(len(self._done), sum(part.rows for part in self._done.values()))

    @property
    def left(self) -> Amount:
        """What is not done of it."""
        return self.total.less(self.amount_done)

    def parts_to_do(self, number: int) -> Iterator[PartToDo]:
        """The pending parts as they are dealt to workers, for the stage with this number among those dealt together."""
        for entry in self._found.pending:
            name, replaced = f"{number}/{entry.name}", self._found.replaced.get(entry.name, "")
            yield PartToDo(name, _expected_rows(self.stage, entry), replaced, number)

    def note(self, committed: Committed) -> None:
        """Note a part that was committed.

        Raises:
            JobFailed: another job holds the lease.
        """
        self._check_lease()
        self._done[committed.name] = committed

    def finish(self) -> Manifest:
        """Say that the stage is done, where the dataset is still what it was."""
        _confirm(self.stage, made=self._done.keys() - self._found.done.keys())
        manifest = self._manifest()
        write_manifest(self.stage.info.folder, manifest)
        return manifest

    def leave(self) -> None:
        """Say what is done of a stage whose work has ended too early.

        Raises:
            JobFailed: another job holds the lease, and says it.
        """
        self._check_lease()
        # Without totals: all parts may be there, and the dataset not confirmed.
        write_manifest(impatient(self.stage.info.folder), self._manifest().model_copy(update={"totals": None}))

    def _manifest(self) -> Manifest:
        return filled_in(
            self._unfinished, self._done, self._wall_before + self._share * (time.monotonic() - self._began)
        )


def _expected_rows(stage: PartStage, entry: PartEntry) -> int:
    return int(entry.facts.get(stage.expected_rows, entry.rows)) * stage.rows_each


def _delete_damaged(folder: Folder, manifest: Manifest | None) -> None:
    """Remove parts of another size than was committed, unless their rows are whole: they were made again since then."""
    for name in manifest.damage if manifest is not None else ():
        if not is_sound(folder, name):
            folder.delete(name)


def _confirm(stage: PartStage, made: Set[str]) -> None:
    """See that the dataset is what it was; parts that were made now are deleted where it is known to have changed."""
    try:
        if stage.confirm is not None:
            stage.confirm()
    except DatasetChanged:
        for name in made:
            stage.info.folder.delete(name)
        raise
