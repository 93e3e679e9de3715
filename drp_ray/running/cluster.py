"""The Ray cluster that a job runs on: connect, see that it is large enough, see that its models can be loaded."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from drp_ray.config import Embedding, Model, ray_address
from drp_ray.errors import BadInput
from drp_ray.stages.embedder import SENTENCE_TRANSFORMERS, locate_model

Say = Callable[[str], None]


@contextmanager
def _stderr_set_aside() -> Iterator[None]:
    """Ray 2.60 writes to the file behind stderr that it was told to log less; Python's errors are not affected."""
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


def _init(ray: Any, num_cpus: int | None) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = ray_address()
    if address is not None:
        ray.init(address=address, **quiet)
    else:
        # Not looked for on this machine: Ray 2.60 waits many minutes for a cluster that was killed.
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **quiet)


@contextmanager
def connect(num_cpus: int | None) -> Iterator[Any]:
    """Connect to the cluster that RAY_ADDRESS names, or start a Ray here for as long as the block runs.

    After a failure Ray stays until the process ends. A Ray that this process has already is used and left as it is.
    """
    # Ray 2.60 logs an error for every restartable actor with arguments, which all actors of Ray Data are.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    from ray.data import DataContext

    is_ours = not ray.is_initialized()
    if is_ours:
        with _stderr_set_aside(), _signal_handlers_kept():
            _init(ray, num_cpus)
    # What fails in a stage is raised here, and told by the command line.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    DataContext.get_current().enable_progress_bars = False
    yield ray
    # Not after a failure: while workers still die, Ray 2.60's shutdown can end this process on the spot, before the
    # failure was told. Ray then ends with the process.
    if is_ours:
        ray.shutdown()


def check_resources(needs: Mapping[str, tuple[float, float]], wait_s: float, say: Say) -> None:
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
            for stage, pair in needs.items()
            for kind, need in zip(("GPU", "CPU"), pair, strict=True)
            if need > there.get(kind, 0)
        ]
        if not lacking:
            return
        if time.monotonic() >= give_up:
            raise BadInput(f"{'; '.join(lacking)}: lower replicas, num_gpus or tensor_parallel, or add nodes")
        say(f"Waiting for nodes to join: {'; '.join(lacking)}")
        time.sleep(min(10.0, max(wait_s / 10, 0.1)))


def check_models(models: Iterable[tuple[str, Model]]) -> None:
    """Let vLLM read the configuration of the models it is to load, on nodes where such models run.

    Raises:
        BadInput: one cannot be loaded; the message is the engine's own.
    """
    import ray

    checks = [
        (name, ray.remote(num_cpus=1, num_gpus=model.gpus)(_problem_of_vllm_model).remote(model))
        for name, model in models
        if model.engine == "vllm"
    ]
    for name, check in checks:
        _refuse(name, ray.get(check))


def begin_embedder_check(settings: Embedding) -> Callable[[], None]:
    """Let transformers read the embedding model's configuration in a process of its own, while Ray starts.

    What comes back waits for the outcome; it raises BadInput with the library's message where the model cannot
    be loaded.
    """
    if settings.engine != SENTENCE_TRANSFORMERS:
        return lambda: None
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    check = pool.submit(_problem_of_embedder, settings)
    pool.shutdown(wait=False)
    return lambda: _refuse("embedding", check.result())


def _refuse(name: str, problem: str | None) -> None:
    if problem is not None:
        raise BadInput(f"{name}: the model cannot be loaded: {problem}")


def _problem_of_embedder(settings: Embedding) -> str | None:
    """Read the embedding model's configuration; None where that works."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(
            locate_model(settings), revision=settings.revision, trust_remote_code=settings.trust_remote_code
        )
    except Exception as error:  # transformers and the hub raise what they like here
        return f"{type(error).__name__}: {error}"
    return None


def _problem_of_vllm_model(model: Model) -> str | None:
    from drp_ray.engines.vllm import problem_with
    from drp_ray.stages.build import model_spec

    return problem_with(model_spec(model))
