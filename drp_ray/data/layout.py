"""A dataset's folder while it is made, and when it is complete.

`unfinished.json` is written before anything else and removed after everything else, and a job refuses a folder that has
it. It says what is being made, so the same command continues and another one starts from the beginning.
`manifest.json` is written when all parts are there.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from drp_ray.data.figures import manifest_as_text
from drp_ray.errors import BadInput, JobFailed
from drp_ray.inputs.dataset import SPLITS, UNFINISHED
from drp_ray.running.cluster import Say
from drp_ray.storage.fingerprint import fingerprint
from drp_ray.storage.folder import Folder, LocalFolder, check_reachable
from drp_ray.storage.lease import LEASE, LeaseHeld, lease
from drp_ray.storage.parts import MANIFEST

LEASE_TTL_S = 60.0
TABLE = "table.txt"
WORK = "build"
WORK_FOLDERS = ("reviews", "meta", "routes", "routed", "item-routes", "item-routed")


@dataclass(frozen=True)
class Destination:
    """Where a dataset is made, what it is made from, and what else must be the same for a begun one to be continued."""

    out: Folder
    made_from: Mapping[str, Any]
    state: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what the dataset is made from."""
        return fingerprint(self.made_from)

    def work(self, name: str) -> Folder:
        """A folder for what is needed only until the dataset is complete."""
        return self.out.at(WORK, name)

    def users(self, split: str) -> Folder:
        """The folder of a split's users."""
        return self.out.at(split, "users")

    @property
    def items(self) -> Folder:
        """The folder of the catalogue."""
        return self.out.at("items")

    @property
    def filled(self) -> list[Folder]:
        """All folders that the dataset's parts may lie in."""
        return [self.items, *(self.users(split) for split in SPLITS)]


def read_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """A JSON object in a file; None where there is no such file."""
    try:
        found: dict[str, Any] = json.loads(folder.read(name))
    except FileNotFoundError:
        return None
    return found


def table_if_complete(destination: Destination, say: Say) -> str | None:
    """The table of the dataset where exactly this one is there already, complete; else None.

    Raises:
        BadInput: the folder holds another dataset, or something that was not made here.
    """
    check_reachable(destination.out)
    manifest, marker = read_json(destination.out, MANIFEST), read_json(destination.out, UNFINISHED)
    if marker is not None:
        if not manifest or manifest.get("fingerprint") != destination.fingerprint or marker != _marker(destination):
            return None
        with being_made(destination, lambda _: None):  # only the clearing away was interrupted
            discard_work(destination.out)
    elif manifest is None:
        if strange := [folder.uri for folder in destination.filled if folder.entries()]:
            raise BadInput(f"{', '.join(strange)}: holds files that no `drp-ray data` made; choose another --out")
        return None
    elif manifest.get("fingerprint") != destination.fingerprint:
        _refuse_another(destination, manifest.get("made_from", {}))
    say(f"Nothing to do: {destination.out.uri} is complete.")
    return manifest_as_text(manifest)


def _refuse_another(destination: Destination, found: Mapping[str, Any]) -> NoReturn:
    wanted = _as_json(destination.made_from)
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    raise BadInput(
        f"{destination.out.uri}: holds another dataset (other {', '.join(differing)}); "
        "choose another --out or remove it"
    )


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@contextmanager
def being_made(destination: Destination, say: Say) -> Iterator[Callable[[], None]]:
    """Hold the folder while the dataset is made; yields a function that raises once another process has it.

    The dataset is complete after the block. The lease is given back before that, as it is no part of the dataset.

    Raises:
        JobFailed: another process is making a dataset here.
    """
    try:
        with lease(destination.out, LEASE_TTL_S) as held:
            _begin(destination, say)
            yield held.check
    except LeaseHeld as error:
        raise JobFailed(f"{destination.out.uri}: another command is making a dataset here; wait for it") from error
    for folder in (destination.out, *destination.filled):
        _remove_temporary_files(folder)
    destination.out.delete(UNFINISHED)


def _marker(destination: Destination) -> dict[str, Any]:
    return {"fingerprint": destination.fingerprint, "state": _as_json(destination.state)}


def _begin(destination: Destination, say: Say) -> None:
    wanted = _marker(destination)
    found = read_json(destination.out, UNFINISHED)
    if found == wanted:
        say(f"{destination.out.uri}: continuing")
        return
    if found is not None:
        say(f"{destination.out.uri}: holds the beginning of another dataset, which is removed")
        destination.out.delete(MANIFEST)
        discard_work(destination.out)
        for folder in destination.filled:
            delete_others(folder, set())
    destination.out.write(UNFINISHED, json.dumps(wanted, indent=1, sort_keys=True).encode())


def mark_complete(destination: Destination, manifest: Mapping[str, Any]) -> str:
    """Write the table and the manifest, which says that all parts are there, and clear away the rest; the table."""
    table = manifest_as_text(manifest)
    destination.out.write(TABLE, table.encode())
    made = {"fingerprint": destination.fingerprint, "made_from": destination.made_from, **manifest}
    destination.out.write(MANIFEST, json.dumps(made, indent=1).encode())
    discard_work(destination.out)
    return table


def discard_work(out: Folder) -> None:
    """Remove what is needed only while a dataset is made."""
    for name in WORK_FOLDERS:
        delete_others(out.at(WORK, name), set())
    if isinstance(out, LocalFolder):
        shutil.rmtree(out.path / WORK, ignore_errors=True)


def _remove_temporary_files(folder: Folder) -> None:
    """Remove the temporary files of writers that were killed; nobody else writes here."""
    if isinstance(folder, LocalFolder) and folder.path.is_dir():
        for name in ("*.parquet", LEASE, MANIFEST, TABLE, UNFINISHED):
            for path in folder.path.glob(f".{name}.*"):
                path.unlink()


def delete_others(folder: Folder, kept: set[str]) -> None:
    """Delete the files of a folder that are not to be kept."""
    for entry in folder.entries():
        if entry.name not in kept:
            folder.delete(entry.name)
