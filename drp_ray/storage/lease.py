"""A lease on a folder, so that only one job writes there.

It is a file made with a conditional write, which its holder renews and which expires otherwise. If the holder was a
process of this machine, in this boot and this PID namespace, that no longer runs (killed, crashed), its lease is taken
over at once. Any other lease, also one that cannot be read, is watched for its holder's time to live, or for one's own
where that is longer: if it is renewed, another job works here; if not, the lease is taken over.
"""

import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from drp_ray.errors import StageFailed
from drp_ray.storage.folder import Folder, impatient

LEASE = "lease.json"
LAST_TRIES_S = (0.0, 1.0, 2.0)
"""How long to wait before each renewal that `check` tries itself where the lease has expired."""


class LeaseHeld(StageFailed):
    """Another job works on the folder."""


class LeaseLost(StageFailed):
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


@contextmanager
def optional_leases(folders: Sequence[Folder], ttl_s: float | None) -> Iterator[list[Callable[[], None] | LeaseHeld]]:
    """Hold the leases of several folders, as `optional_lease`; one that another job has is told in its place.

    They are taken side by side: after a crash of another machine each is watched for its time to live.
    """
    if ttl_s is None:
        yield [lambda: None for _ in folders]
        return
    wanted = [Lease(folder, ttl_s) for folder in folders]
    with ExitStack() as held, ThreadPoolExecutor(max(1, len(folders))) as threads:

        def taken(one: Lease) -> Callable[[], None] | LeaseHeld:
            try:
                one.acquire()
            except LeaseHeld as failure:
                return failure
            held.callback(one.release)
            return one.check

        try:
            leases = list(threads.map(taken, wanted))
        except BaseException:
            for one in wanted:
                one.give_up()
            raise
        yield leases


class Lease:
    """A lease on a folder, renewed three times within its time to live."""

    def __init__(self, folder: Folder, ttl_s: float) -> None:
        self._folder = impatient(folder, attempts=2)
        self._ttl_s = ttl_s
        self._identity = {"owner": uuid.uuid4().hex, "ttl_s": float(ttl_s), **_this_process()}
        self._lost: str | None = None
        self._renewed_at = time.monotonic()
        self._one_renewal = threading.Lock()
        self._released = threading.Event()
        self._renewing = threading.Thread(target=self._renew_until_released, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease where there is none, where its holder no longer runs, or once it has expired.

        Raises:
            LeaseHeld: another job renews it.
        """
        self._renewed_at = time.monotonic()
        if not self._write(None):
            self._take_over_once_expired()
        self._renewing.start()
        with suppress(OSError):
            self._folder.delete_temporary_files()

    def check(self) -> None:
        """Raise `LeaseLost` once another job has the lease, or this one has not renewed it in time and cannot now.

        A lease that was not renewed in time counts again once a renewal finds our own stamp there: then nobody took it
        meanwhile.
        """
        problem: Exception | None = None
        for wait_s in LAST_TRIES_S:
            if self._lost is not None:
                raise LeaseLost(self._lost)
            if time.monotonic() - self._renewed_at <= self._ttl_s:
                return
            time.sleep(wait_s)
            problem = self._try_to_renew()
        if self._lost is not None or problem is not None:
            raise LeaseLost(self._lost or f"{self._folder.uri}: the lease could not be renewed: {problem}")

    def give_up(self) -> None:
        """Let `acquire`, in another thread, wait no longer for an abandoned lease."""
        self._released.set()

    def release(self) -> None:
        """Give the lease back, unless another job has it; where storage does not let us, it expires by itself."""
        self._released.set()
        self._renewing.join(timeout=self._ttl_s / 3)
        with suppress(Exception):  # what ended the work is told, and not what its clean-up met
            if self._lost is None and self._is_ours():
                self._folder.delete(LEASE)

    def _take_over_once_expired(self) -> None:
        found = self._read()
        give_up = time.monotonic() + max(self._ttl_s, _ttl_s_in(found))
        while found is not None and not _holder_is_gone(found) and time.monotonic() < give_up:
            if self._released.wait(min(1.0, self._ttl_s / 10)):
                raise LeaseHeld(f"{self._folder.uri}: the wait for this folder's lease was given up")
            again = self._read()
            if again is not None and again != found:
                raise LeaseHeld(self._held_message(again))
            found = again
        self._renewed_at = time.monotonic()
        if not self._write(found):
            raise LeaseHeld(self._held_message(self._read() or b"{}"))

    def _renew_until_released(self) -> None:
        while self._lost is None and not self._released.wait(self._ttl_s / 3):
            self._try_to_renew()

    def _try_to_renew(self) -> Exception | None:
        """Renew the lease, or note that another job has it; why neither could be done, None where it could.

        Whatever storage raises is no end of renewing: a thread that dies would leave a lease that looks held.
        """
        with self._one_renewal:
            began = time.monotonic()
            try:
                found = self._read()
                renewed = self._is_stamped_by_us(found) and self._write(found)
            except Exception as error:
                return error
            if renewed:
                self._renewed_at = began
            else:
                self._lost = f"{self._folder.uri}: another job took the lease of this folder"
            return None

    def _write(self, found: bytes | None) -> bool:
        """Write our lease over the one that was found; a refused write may be the repetition of one that succeeded."""
        stamp = self._stamp()
        written = self._folder.create(LEASE, stamp) if found is None else self._folder.swap(LEASE, found, stamp)
        return written or self._is_ours()

    def _is_ours(self) -> bool:
        return self._is_stamped_by_us(self._read())

    def _is_stamped_by_us(self, content: bytes | None) -> bool:
        return content is not None and _holder_in(content).get("owner") == self._identity["owner"]

    def _read(self) -> bytes | None:
        try:
            return self._folder.read(LEASE)
        except FileNotFoundError:
            return None

    def _stamp(self) -> bytes:
        return json.dumps({**self._identity, "renewed_at": time.time()}).encode()

    def _held_message(self, content: bytes) -> str:
        holder = _holder_in(content)
        who = f"process {holder.get('pid')} on {holder.get('host')}"
        return (
            f"{self._folder.uri}: another job ({who}) is working on this stage. Wait for it, stop it, or start with "
            "--no-lease if you are sure that it is gone."
        )


def _this_process() -> dict[str, str | int | float]:
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid_namespace": _pid_namespace(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _ttl_s_in(content: bytes | None) -> float:
    """The time to live of a lease's holder; 0 where none is given, as in leases of earlier versions."""
    ttl_s = _holder_in(content or b"").get("ttl_s")
    return ttl_s if isinstance(ttl_s, float) and math.isfinite(ttl_s) else 0.0


def _holder_is_gone(content: bytes) -> bool:
    """Whether the holder was a process that this one would see if it still ran, and it does not.

    Numbers of processes mean something only in one boot of one machine and in one PID namespace: two containers may
    have the same host name, and a volume that both write to.
    """
    holder, here = _holder_in(content), _this_process()
    if any(holder.get(place) != here[place] for place in ("host", "boot", "pid_namespace")):
        return False
    pid, started = holder.get("pid"), holder.get("started")
    if not isinstance(pid, int) or not isinstance(started, int | float):
        return False
    try:
        found: float = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(found - started) > 1  # another process may have the same number by now


def _holder_in(content: bytes) -> Mapping[str, Any]:
    """What a lease says of its holder; nothing where it cannot be read, as after a crash of the machine."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        return ""


def _boot_id() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else str(psutil.boot_time())
