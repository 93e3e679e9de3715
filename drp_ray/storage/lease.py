"""A lease on a folder, so that only one job writes there.

It is a file made with a conditional write, which its holder renews and which expires otherwise. If the holder was a
process of this machine, in this boot, that no longer runs (killed, crashed), its lease is taken over at once. Any
other lease is watched for its time to live: if it is renewed, another job works here; if not, the lease is taken over.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from drp_ray.errors import BadInput, JobFailed
from drp_ray.storage.folder import Folder

LEASE = "lease.json"


class LeaseHeld(JobFailed):
    """Another job works on the folder."""


class LeaseLost(JobFailed):
    """Another job took the folder while this one could not renew its lease."""


@contextmanager
def lease(folder: Folder, ttl_s: float) -> Iterator["Lease"]:
    """Hold a folder's lease; `Lease.check` says whether it is still held.

    Raises:
        LeaseHeld: another job renews its lease on this folder.
    """
    held = Lease(folder, ttl_s)
    held.acquire()
    try:
        yield held
    finally:
        held.release()


@contextmanager
def optional_lease(folder: Folder, ttl_s: float | None) -> Iterator[Callable[[], None]]:
    """Hold a lease, or none where `ttl_s` is None; yields a function that raises once the lease is lost."""
    if ttl_s is None:
        yield lambda: None
        return
    with lease(folder, ttl_s) as held:
        yield held.check


class Lease:
    """A lease on a folder, renewed three times within its time to live."""

    def __init__(self, folder: Folder, ttl_s: float) -> None:
        self._folder = folder
        self._ttl_s = ttl_s
        self._identity = {"owner": uuid.uuid4().hex, **_this_process()}
        self._lost: str | None = None
        self._released = threading.Event()
        self._renewing = threading.Thread(target=self._renew_until_released, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease where there is none, where its holder no longer runs, or once it has expired.

        Raises:
            LeaseHeld: another job renews it.
        """
        if not self._write(None):
            self._take_over_once_expired()
        self._renewing.start()

    def check(self) -> None:
        """Raise `LeaseLost` once another job has the lease, or this one could not renew it in time."""
        if self._lost is not None:
            raise LeaseLost(self._lost)

    def release(self) -> None:
        """Give the lease back, unless another job has it."""
        self._released.set()
        self._renewing.join()
        if self._lost is None and self._is_ours():
            self._folder.delete(LEASE)

    def _take_over_once_expired(self) -> None:
        found = self._read()
        give_up = time.monotonic() + self._ttl_s
        while found is not None and not _holder_is_gone(found) and time.monotonic() < give_up:
            time.sleep(min(1.0, self._ttl_s / 10))
            again = self._read()
            if again is not None and again != found:
                raise LeaseHeld(self._held_message(again))
            found = again
        if not self._write(found):
            raise LeaseHeld(self._held_message(self._read() or b"{}"))

    def _renew_until_released(self) -> None:
        last_renewal = time.monotonic()
        while not self._released.wait(self._ttl_s / 3):
            try:
                renewed = self._renew()
            except (OSError, BadInput) as error:
                if time.monotonic() - last_renewal > self._ttl_s:
                    self._lost = f"{self._folder.uri}: the lease could not be renewed: {error}"
                    return
                continue
            if not renewed:
                self._lost = f"{self._folder.uri}: another job took the lease of this folder"
                return
            last_renewal = time.monotonic()

    def _renew(self) -> bool:
        found = self._read()
        return self._is_stamped_by_us(found) and self._write(found)

    def _write(self, found: bytes | None) -> bool:
        """Write our lease over the one that was found; a refused write may be the repetition of one that succeeded."""
        stamp = self._stamp()
        written = self._folder.create(LEASE, stamp) if found is None else self._folder.swap(LEASE, found, stamp)
        return written or self._is_ours()

    def _is_ours(self) -> bool:
        return self._is_stamped_by_us(self._read())

    def _is_stamped_by_us(self, content: bytes | None) -> bool:
        return content is not None and json.loads(content).get("owner") == self._identity["owner"]

    def _read(self) -> bytes | None:
        try:
            return self._folder.read(LEASE)
        except FileNotFoundError:
            return None

    def _stamp(self) -> bytes:
        return json.dumps({**self._identity, "renewed_at": time.time()}).encode()

    def _held_message(self, content: bytes) -> str:
        holder = json.loads(content)
        who = f"process {holder.get('pid')} on {holder.get('host')}"
        return (
            f"{self._folder.uri}: another job ({who}) is working on this stage. Wait for it, stop it, or start with "
            "--no-lease if you are sure that it is gone."
        )


def _this_process() -> dict[str, str | int | float]:
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _holder_is_gone(content: bytes) -> bool:
    """Whether the holder was a process of this machine, in this boot, that no longer runs."""
    holder = json.loads(content)
    if holder["host"] != socket.gethostname() or holder["boot"] != _boot_id():
        return False
    try:
        started: float = psutil.Process(holder["pid"]).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(started - float(holder["started"])) > 1  # another process may have the same number by now


def _boot_id() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else str(psutil.boot_time())
