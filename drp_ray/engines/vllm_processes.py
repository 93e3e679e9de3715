"""The processes that vLLM starts: what they find in their environment, what they log, and how they are ended."""

import fcntl
import itertools
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from drp_ray.engines.base import ModelSpec

SHUTDOWN_S = 5.0
"""How long an engine's processes may take to end before they are killed."""

_RECORD = "\x1e"
_LOGGING = "VLLM_LOGGING_CONFIG_PATH"
_NO_COMPILER = "TORCH_COMPILE_DISABLE"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ENVIRONMENT = threading.Lock()
"""Held by the engine of this process that has changed the environment."""


@contextmanager
def environment_of_processes(spec: ModelSpec, config: Any, errors: Path) -> Iterator[None]:
    """Change the environment for the processes that an engine starts meanwhile; other engines wait for their turn.

    `config` is vLLM's of the engine, `errors` the folder that `logged_causes` reads afterwards.
    """
    with _ENVIRONMENT:
        changes = _errors_logged_to(errors) | _nothing_compiled_where_eager(config) | _its_gpus_visible(spec)
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _errors_logged_to(folder: Path) -> dict[str, str]:
    """Have vLLM's processes write their errors into `folder` too.

    The cause of a failure is logged in the process where it happened and reaches this one as "Engine core
    initialization failed. See root cause above" (vLLM 0.29). vLLM reads how to log from a file that an
    environment variable names, which its processes inherit. Whoever uses that variable keeps their own file.
    """
    from vllm.logger import DEFAULT_LOGGING_CONFIG

    if _LOGGING in os.environ or os.environ.get("VLLM_CONFIGURE_LOGGING", "1") == "0":
        return {}
    config = json.loads(json.dumps(DEFAULT_LOGGING_CONFIG))
    config["formatters"]["plain"] = {"format": f"{_RECORD}%(message)s"}
    config["handlers"]["errors"] = {
        "class": "logging.FileHandler",
        "filename": str(folder / "errors.log"),
        "level": "ERROR",
        "formatter": "plain",
        "delay": True,
    }
    config["loggers"]["vllm"]["handlers"].append("errors")
    (folder / "logging.json").write_text(json.dumps(config))
    return {_LOGGING: str(folder / "logging.json")}


def _nothing_compiled_where_eager(config: Any) -> dict[str, str]:
    """Have an eager engine on a CPU compile nothing at all.

    vLLM 0.29 compiles its sampler with the first reply, also with `enforce_eager`: seconds, and the end of the engine
    on a machine without a C++ compiler.
    """
    is_eager = config.model_config.enforce_eager and config.device_config.device_type == "cpu"
    return {_NO_COMPILER: "1"} if is_eager and _NO_COMPILER not in os.environ else {}


def _its_gpus_visible(spec: ModelSpec) -> dict[str, str]:
    """Have the processes see the `devices` of the model alone, where it has some."""
    return {} if spec.devices is None else {_VISIBLE: ",".join(spec.devices)}


@contextmanager
def alone_on_gpu(spec: ModelSpec) -> Iterator[None]:
    """Have engines that share a GPU load one after another.

    vLLM 0.29 measures while it loads how much memory the model takes of the GPU, and gives up where another process
    takes or frees some meanwhile.
    """
    if not 0 < spec.gpus < 1:
        yield
        return
    devices = os.environ.get(_VISIBLE, "all").replace(",", "-").replace("/", "-")
    with (Path(tempfile.gettempdir()) / f"drp-ray-gpu-{os.getuid()}-{devices}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def logged_causes(folder: Path) -> list[str]:
    """What the first errors that vLLM's processes logged come down to; later ones follow from them."""
    log = folder / "errors.log"
    if not log.exists():
        return []
    records = log.read_text(errors="replace").split(_RECORD)[1:]
    return list(dict.fromkeys(map(_cause, records)))[:2]


def _cause(record: str) -> str:
    """The exception that ends the first traceback of a log record, which is the first in its chain."""
    heading, traceback, lines = record.partition("Traceback (most recent call last):\n")
    if not traceback:
        return heading.strip()
    exception = itertools.dropwhile(lambda line: line.startswith(" "), lines.splitlines())
    return "\n".join(itertools.takewhile(lambda line: line.strip() != "", exception))


def with_descendants(processes: Sequence[Any]) -> list[psutil.Process]:
    """Handles of processes and of all below them; they are safe against reused process ids."""
    found = []
    for process in processes:
        parent = psutil.Process(process.pid)
        found += [parent, *parent.children(recursive=True)]
    return found


def end(processes: Sequence[psutil.Process], grace_s: float) -> None:
    """Wait for processes to end, then kill those that have not."""
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=SHUTDOWN_S)
