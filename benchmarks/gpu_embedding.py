"""Texts a second of a sentence-transformers model on one device, by batch size, number format and processes.

Needs torch, sentence-transformers, numpy and pyarrow, and of this package only the words of its sample: it runs on a
machine without Ray, vLLM and pydantic. `python -m benchmarks.gpu --only embedding` calls it.

All settings take turns, and the figures are medians over the repeats. A small model on a fast GPU waits for its
tokenizer, so the time of tokenizing alone stands beside, and processes that share the device are measured too: they
are what `embedding.replicas` with a fraction of a GPU each gives. `noise` is how far vectors (of length one) move from
those of the first setting, in the largest of their numbers: batches of other sizes and shorter number formats change
what clustering sees, and distances equal within 1e-5 count as ties there.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from drp_ray.data.sample import sample_users

MEAN_CHARS, SPREAD_CHARS = 1_704.61, 1_751.98
"""Lengths of the reviews in the published set of Movies & TV."""
SHORTEST, LONGEST = 200, 20_000
WRITERS = 64
START_S = 120


@dataclass(frozen=True)
class Setting:
    """How texts are encoded: texts in a batch, and torch's name of the number format."""

    batch_size: int
    number_format: str = "float32"


@dataclass(frozen=True)
class Speed:
    """What one setting reached; `cpu_s` is this process's, `gib` the most that torch held on the device."""

    batch_size: int
    number_format: str
    texts_per_s: float
    tokens_per_s: float
    cpu_s: float
    gib: float
    noise: float


def texts_of_amazon_length(count: int, seed: int = 0) -> list[str]:
    """Distinct texts made of the sample's reviews, as long as real ones: lognormal, at least 200 characters."""
    rng = np.random.default_rng(seed)
    reviews = sample_reviews(seed)
    variance = np.log(1 + (SPREAD_CHARS / MEAN_CHARS) ** 2)
    lengths = rng.lognormal(np.log(MEAN_CHARS) - variance / 2, np.sqrt(variance), count)
    lengths = np.clip(lengths, SHORTEST, LONGEST).astype(int)
    return [f"{number} {joined(reviews, length, rng)}" for number, length in enumerate(lengths)]


@cache
def sample_reviews(seed: int = 0) -> list[str]:
    """The reviews of some users of the generated sample."""
    profiles = sample_users(WRITERS, seed, 0, WRITERS)["profile"].to_pylist()
    return [review["text"] for profile in profiles for review in profile]


def joined(reviews: list[str], length: int, rng: np.random.Generator) -> str:
    """Reviews drawn one after another until there are so many characters."""
    text = ""
    while len(text) < length:
        text = f"{text} {reviews[rng.integers(len(reviews))]}".strip()
    return text[:length]


def measure(arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """All settings in turn, tokenizing alone, and processes that share the device; prints a line for each."""
    texts = texts_of_amazon_length(arguments.texts)
    settings = list(settings_of(arguments.batch_sizes, arguments.formats))
    models = {name: load(arguments.embedder, device, name) for name in arguments.formats}
    tokens, tokenizing = count_tokens(models[arguments.formats[0]], texts)
    print(
        f"{len(texts):,} texts, {tokens:,} tokens; tokenizing alone {len(texts) / tokenizing:,.0f} texts/s", flush=True
    )
    speeds = speeds_of(models, texts, tokens, settings, arguments.repeats)
    for speed in speeds:
        print(told(speed), flush=True)
    best = max(speeds, key=lambda speed: speed.texts_per_s)
    del models
    return {
        "texts": len(texts),
        "tokens": tokens,
        "tokenizing_texts_per_s": len(texts) / tokenizing,
        "settings": [asdict(speed) for speed in speeds],
        "shared": shared_by_processes(arguments, device, Setting(best.batch_size, best.number_format), len(texts)),
    }


def settings_of(batch_sizes: list[int], formats: list[str]) -> Iterator[Setting]:
    """Every batch size in every format, the first format first."""
    for number_format in formats:
        for size in batch_sizes:
            yield Setting(size, number_format)


def load(folder: str, device: str, number_format: str) -> Any:
    """The model of a folder on a device."""
    # Imported here: the rest of the benchmark, and `--help`, must start without torch.
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device=device)
    return model.to(getattr(torch, number_format))


def count_tokens(model: Any, texts: list[str]) -> tuple[int, float]:
    """The tokens of all texts as the model cuts them, and the seconds of tokenizing alone."""
    began = time.perf_counter()
    encoded = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)
    return sum(map(len, encoded["input_ids"])), time.perf_counter() - began


def speeds_of(
    models: dict[str, Any], texts: list[str], tokens: int, settings: list[Setting], repeats: int
) -> list[Speed]:
    """Encode all texts with each setting in turn, `repeats` times after one pass that warms up and is compared."""
    first = encode(models[settings[0].number_format], texts, settings[0].batch_size)
    noises, peaks = [], []
    for setting in settings:
        vectors, peak = encode_watched(models[setting.number_format], texts, setting.batch_size)
        noises.append(float(np.abs(vectors - first).max()))
        peaks.append(peak)
    times: list[list[tuple[float, float]]] = [[] for _ in settings]
    for _ in range(repeats):
        for taken, setting in zip(times, settings, strict=True):
            began, cpu_began = time.perf_counter(), time.process_time()
            encode(models[setting.number_format], texts, setting.batch_size)
            taken.append((time.perf_counter() - began, time.process_time() - cpu_began))
    return [
        speed_of(setting, len(texts), tokens, taken, peak, noise)
        for setting, taken, peak, noise in zip(settings, times, peaks, noises, strict=True)
    ]


def speed_of(
    setting: Setting, texts: int, tokens: int, taken: list[tuple[float, float]], peak: int, noise: float
) -> Speed:
    """Rates of the median pass."""
    seconds = statistics.median(wall for wall, _ in taken)
    return Speed(
        setting.batch_size,
        setting.number_format,
        texts / seconds,
        tokens / seconds,
        statistics.median(cpu for _, cpu in taken),
        peak / (1 << 30),
        noise,
    )


def encode(model: Any, texts: list[str], batch_size: int) -> np.ndarray:
    """Embed texts as a job's embedder does: sorted by length in batches; float32[n, d]."""
    vectors = model.encode(texts, batch_size=batch_size, show_progress_bar=False)
    return np.asarray(vectors, np.float32)


def encode_watched(model: Any, texts: list[str], batch_size: int) -> tuple[np.ndarray, int]:
    """The vectors, and the most bytes that torch held on the GPU meanwhile (0 on a CPU)."""
    import torch

    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    vectors = encode(model, texts, batch_size)
    return vectors, torch.cuda.max_memory_allocated() if on_gpu else 0


def told(speed: Speed) -> str:
    """One line for people."""
    return (
        f"batches of {speed.batch_size} in {speed.number_format}: {speed.texts_per_s:,.0f} texts/s, "
        f"{speed.tokens_per_s:,.0f} tokens/s, {speed.cpu_s:.1f} CPU-s, {speed.gib:.2f} GiB, noise {speed.noise:.1e}"
    )


def shared_by_processes(arguments: argparse.Namespace, device: str, setting: Setting, texts: int) -> dict[str, float]:
    """Texts a second, together, of 1, 2, … processes that share the device, by the number of processes."""
    together = {}
    for processes in arguments.processes:
        rates = [rate_together(arguments.embedder, device, setting, texts, processes) for _ in range(2)]
        together[str(processes)] = max(rates)
        print(f"{processes} processes on one device: {max(rates):,.0f} texts/s together", flush=True)
    return together


def rate_together(folder: str, device: str, setting: Setting, texts: int, processes: int) -> float:
    """Each process encodes all texts; from the moment that all are ready to the last one's end."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes + 1)
    ended: Any = context.Queue()
    workers = [
        context.Process(
            target=encode_when_all_are_ready, args=(folder, device, setting, texts, ready, ended), daemon=True
        )
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    ready.wait(START_S)
    began = time.perf_counter()
    for _ in workers:
        ended.get(timeout=START_S)
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return processes * texts / seconds


def encode_when_all_are_ready(folder: str, device: str, setting: Setting, texts: int, ready: Any, ended: Any) -> None:
    """The work of one process: load, warm up, wait for the others, encode."""
    model = load(folder, device, setting.number_format)
    mine = texts_of_amazon_length(texts)
    encode(model, mine[: 2 * setting.batch_size], setting.batch_size)
    ready.wait(START_S)
    encode(model, mine, setting.batch_size)
    ended.put(True)


def copy_with_half_the_bytes(source: Path, target: Path) -> None:
    """Copy a model's folder with its weights in float16, to carry it to another machine; speed does not change."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    weights = load_file(target / "model.safetensors")
    halved = {
        name: weight.to(torch.float16) if weight.is_floating_point() else weight for name, weight in weights.items()
    }
    save_file(halved, target / "model.safetensors", metadata={"format": "pt"})
