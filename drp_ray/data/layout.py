"""A dataset's folder while it is made, and when it is whole.

`unfinished.json` is written before anything else and removed after everything else, and no job takes a dataset with
it. It says what is being made, so the same command continues and another one starts afresh. `manifest.json` is written
when all parts are there.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from drp_ray.errors import BadInput, JobFailed
from drp_ray.inputs.dataset import SPLITS, UNFINISHED
from drp_ray.storage.fingerprint import fingerprint
from drp_ray.storage.folder import Folder, LocalFolder, check_reachable
from drp_ray.storage.lease import LEASE, LeaseHeld, lease
from drp_ray.storage.parts import MANIFEST

LEASE_TTL_S = 60.0
TABLE = "table.txt"
WORK = "build"
WORK_FOLDERS = ("reviews", "meta", "routes", "routed", "item-routes", "item-routed")


@dataclass(frozen=True)
class Target:
    """Where a dataset is made, what it is made from, and what else must be the same for a half to be continued."""

    out: Folder
    made_from: Mapping[str, Any]
    state: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The name of what the dataset will hold."""
        return fingerprint(self.made_from)

    def work(self, name: str) -> Folder:
        """A folder for what is needed only until the dataset is whole."""
        return self.out.at(WORK, name)

    def users(self, split: str) -> Folder:
        """The folder of a split's users."""
        return self.out.at(split, "users")

    @property
    def items(self) -> Folder:
        """The folder of the catalogue."""
        return self.out.at("items")


def read_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """A file of JSON; None where there is none."""
    try:
        return json.loads(folder.read(name))
    except FileNotFoundError:
        return None


def is_built(target: Target) -> bool:
    """Whether exactly this dataset is there already, whole.

    Raises:
        BadInput: the folder holds another dataset, or something that was not made here.
    """
    check_reachable(target.out)
    manifest, marker = read_json(target.out, MANIFEST), read_json(target.out, UNFINISHED)
    if marker is not None:
        all_parts_there = manifest is not None and manifest.get("fingerprint") == target.fingerprint
        if not all_parts_there or marker != _marker(target):
            return False
        with being_made(target, lambda _: None):  # only the clearing away was cut short
            discard_work(target.out)
        return True
    if manifest is None:
        folders = [target.items, *(target.users(split) for split in SPLITS)]
        if strange := [folder.uri for folder in folders if folder.entries()]:
            raise BadInput(f"{', '.join(strange)}: holds files that no `drp-ray data` made; choose another --out")
        return False
    if manifest.get("fingerprint") == target.fingerprint:
        return True
    differ = sorted(
        key
        for key in {*manifest.get("made_from", {}), *target.made_from}
        if manifest.get("made_from", {}).get(key) != _as_json(target.made_from.get(key))
    )
    raise BadInput(
        f"{target.out.uri}: holds another dataset (other {', '.join(differ)}); choose another --out or remove it"
    )


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@contextmanager
def being_made(target: Target, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold the folder while the dataset is made; yields a function that raises once another process has it.

    The dataset is whole when the block has ended: the lease is given back first, as it is no part of it.

    Raises:
        JobFailed: another process is making a dataset here.
    """
    try:
        with lease(target.out, LEASE_TTL_S) as held:
            _begin(target, say)
            yield held.check
    except LeaseHeld as error:
        raise JobFailed(f"{target.out.uri}: another command is making a dataset here; wait for it") from error
    for folder in (target.out, target.items, *(target.users(split) for split in SPLITS)):
        _sweep(folder)
    target.out.delete(UNFINISHED)


def _marker(target: Target) -> dict[str, Any]:
    return {"fingerprint": target.fingerprint, "state": _as_json(target.state)}


def _begin(target: Target, say: Callable[[str], None]) -> None:
    wanted = _marker(target)
    found = read_json(target.out, UNFINISHED)
    if found is None:
        target.out.write(UNFINISHED, json.dumps(wanted, indent=1, sort_keys=True).encode())
    elif found == wanted:
        say(f"{target.out.uri}: continuing")
    else:
        say(f"{target.out.uri}: holds the beginning of another dataset, which is removed")
        target.out.delete(MANIFEST)
        discard_work(target.out)
        for folder in (target.items, *(target.users(split) for split in SPLITS)):
            delete_others(folder, set())
        target.out.write(UNFINISHED, json.dumps(wanted, indent=1, sort_keys=True).encode())


def finish(target: Target, manifest: Mapping[str, Any], table: str) -> None:
    """Write what says that all parts are there, and clear away what is not part of the dataset."""
    target.out.write(TABLE, table.encode())
    made = {"fingerprint": target.fingerprint, "made_from": target.made_from, **manifest}
    target.out.write(MANIFEST, json.dumps(made, indent=1).encode())
    discard_work(target.out)


def discard_work(out: Folder) -> None:
    """Remove what is needed only while a dataset is made."""
    for name in WORK_FOLDERS:
        delete_others(out.at(WORK, name), set())
    if isinstance(out, LocalFolder):
        shutil.rmtree(out.path / WORK, ignore_errors=True)


def _sweep(folder: Folder) -> None:
    """Remove what killed writers left of files that they had not finished; nobody else writes here."""
    if isinstance(folder, LocalFolder) and folder.path.is_dir():
        for name in ("*.parquet", LEASE, MANIFEST, TABLE, UNFINISHED):
            for path in folder.path.glob(f".{name}.*"):
                path.unlink()


def delete_others(folder: Folder, kept: set[str]) -> None:
    """Delete the files of a folder that are not to be kept."""
    for entry in folder.entries():
        if entry.name not in kept:
            folder.delete(entry.name)
