"""The Ray cluster that a job runs on: connect, and see that it is large enough."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from drp_ray.config import ray_address
from drp_ray.errors import BadInput, JobFailed
from drp_ray.running.keeper import Keeper
from drp_ray.running.last_words import be_spoken_for

Say = Callable[[str], None]

WORKERS_KEPT_PER_CPU = 3
"""Worker processes that stay though nothing runs in them: Ray 2.60 ends those beyond one a CPU after a second.

Tasks that read, tasks that shuffle, which Ray Data gives processes of their own, and those that wait take turns in
every stage; to start a process and import what a task needs takes two seconds of CPU.
"""

NOT_UP_IN_TIME = "timed out during startup"

TOLD_BY_RAY_DATA = "\nFailed to apply UDF transform"
"""How the lines begin that Ray Data 2.60 adds to the text of an exception: on retries, which a job has none of."""

SHUFFLE_INPUT_BYTES = 128 * 2**20
"""How much a task of a shuffle takes in. With the 1 GiB of Ray 2.60 a few of them hold all that is shuffled at once."""


@contextmanager
def _stderr_set_aside() -> Iterator[None]:
    """Ray 2.60 reports on stderr that its log level was lowered, also from its native code; Python's errors stay."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Ray 2.60 puts handlers of its own in place when it starts, which end the process with another exit code."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _init(ray: Any, num_cpus: int | None) -> str:
    """Connect, or start a Ray; the folder of its session."""
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = ray_address()
    if address is not None:
        started = ray.init(address=address, **quiet)
    else:
        # Not looked for on this machine: Ray 2.60 waits many minutes for a cluster that was killed.
        cpus = num_cpus or os.cpu_count() or 1
        kept = {"num_workers_soft_limit": WORKERS_KEPT_PER_CPU * cpus}
        try:
            started = ray.init(
                address="local", num_cpus=num_cpus, include_dashboard=False, _system_config=kept, **quiet
            )
        except Exception as error:  # Ray 2.60 raises no class of its own
            if NOT_UP_IN_TIME not in str(error):
                raise
            raise JobFailed(
                "Ray did not start within the 30 seconds that it has, as on a machine with too much to do: try again "
                "when there is less"
            ) from error
    return str(started.address_info["session_dir"])


@contextmanager
def connect(num_cpus: int | None) -> Iterator[Any]:
    """Connect to the cluster that RAY_ADDRESS names, or start a Ray here for as long as the block runs.

    After a failure Ray stays until the process ends. A Ray that this process has already is used and left as it is.
    """
    # Ray 2.60 logs an error for every restartable actor with arguments, which all actors of Ray Data are.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    from ray.data import DataContext

    is_ours, keeper, dismiss_speaker = not ray.is_initialized(), None, None
    if is_ours:
        if ray_address() is not None:
            dismiss_speaker = be_spoken_for()  # while standard error is where the line is to be read
        with _stderr_set_aside(), _signal_handlers_kept():
            keeper = Keeper() if ray_address() is None else None
            session = _init(ray, num_cpus)
    # What fails in a stage is raised here, and reported by the command line.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    DataContext.get_current().enable_progress_bars = False
    DataContext.get_current().shuffle_input_batch_bytes = SHUFFLE_INPUT_BYTES
    # Else Ray Data 2.60 raises an exception of its own, and the cause is lost on the way here.
    DataContext.get_current().raise_original_map_exception = True
    yield ray
    # Not after a failure: while workers still die, Ray 2.60's shutdown can end this process on the spot, before the
    # failure was reported. Ray then ends with the process.
    if is_ours:
        ray.shutdown()
        if keeper is not None:
            keeper.release(session)
        if dismiss_speaker is not None:
            dismiss_speaker()


@contextmanager
def loss_told() -> Iterator[None]:
    """Say what a person can do where Ray has lost what the job cannot go on without: its head, above all.

    Raises:
        JobFailed: it has.
    """
    from ray import exceptions

    try:
        yield
    except (
        exceptions.RayActorError,
        exceptions.LocalRayletDiedError,
        exceptions.NodeDiedError,
        exceptions.RpcError,
        exceptions.WorkerCrashedError,
    ) as error:
        said = str(error).splitlines()[0]
        raise JobFailed(
            "Ray lost what this job cannot go on without, as when its head ends: what was committed stays, and the "
            f"same command continues where there is a Ray again ({said})"
        ) from error


@contextmanager
def own_failures_of_tasks() -> Iterator[None]:
    """Raise what a task raised where a person can act on it, and not Ray's wrapper, which says a page of traceback.

    Raises:
        BadInput, JobFailed: a task did.
    """
    from ray.exceptions import RayTaskError

    try:
        yield
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BadInput | JobFailed):
            cause.args = (str(cause).partition(TOLD_BY_RAY_DATA)[0],)
            raise cause from None
        raise


class Claim(NamedTuple):
    """What a stage holds of the cluster at once."""

    gpus: float
    cpus: float


def check_resources(claims: Mapping[str, Claim], wait_s: float, say: Say) -> None:
    """See that every stage's models fit the cluster at once, waiting for nodes that are still to join.

    Raises:
        BadInput: they do not, after `wait_s`.
    """
    import ray

    give_up = time.monotonic() + wait_s
    while True:
        there = ray.cluster_resources()
        lacking = [
            f"{stage} needs {need:g} {kind}s, the cluster has {there.get(kind, 0):g}"
            for stage, claim in claims.items()
            for kind, need in (("GPU", claim.gpus), ("CPU", claim.cpus))
            if need > there.get(kind, 0)
        ]
        if not lacking:
            return
        if time.monotonic() >= give_up:
            raise BadInput(f"{'; '.join(lacking)}: lower replicas, num_gpus or tensor_parallel, or add nodes")
        say(f"Waiting for nodes to join: {'; '.join(lacking)}")
        time.sleep(min(10.0, max(wait_s / 10, 0.1)))
