"""Time to score many predictions of Yelp length by every metric.

    python -m benchmarks.scores Digital_Music.jsonl.gz [--predictions 28743] [--cores 2]

The texts are pieces of about 600 characters of real reviews (raw Amazon reviews, JSON lines), each compared with
another piece, beside a profile of eight. Prints the CPU seconds of every metric in one process, then the wall and CPU
time of all metrics in so many processes, part by part as the stage `scores` does it.
"""

import argparse
import gzip
import json
import random
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from drp_ray.config import Evaluation, Runtime, cache_folder
from drp_ray.evaluation.metrics.base import Metric, open_metrics, score_rows

CHARACTERS, PART, PROFILE, SAMPLE = 600, 32, 8, 1_000
"""Yelp's predictions have about 600 characters."""


def pieces(file: Path, count: int) -> list[str]:
    """So many pieces of the reviews, in drawn order; all come again where they are too few."""
    with gzip.open(file, "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    cut = [text[at : at + CHARACTERS] for text in texts for at in range(0, len(text), CHARACTERS)]
    long = [text for text in cut if len(text) > CHARACTERS // 2]
    drawn = random.Random(0)
    return [text for _ in range(count // len(long) + 1) for text in drawn.sample(long, len(long))][:count]


@lru_cache(maxsize=1)
def metrics() -> list[Metric]:
    """The metrics of this process."""
    return open_metrics(Evaluation(), cache_folder(Runtime()))


def score_part(texts: list[str]) -> float:
    """Score a part of `PART` predictions with every metric; the CPU seconds it took."""
    began = time.process_time()
    half = len(texts) // 2
    predictions, references = texts[:half], texts[half : 2 * half]
    profiles = [
        [texts[(row + other) % len(texts)] for other in range(1, PROFILE + 1)] for row in range(len(predictions))
    ]
    score_rows(metrics(), predictions, references, profiles)
    return time.process_time() - began


def cpu_of_each(texts: list[str], count: int) -> None:
    """Print what each metric takes, from the last `SAMPLE` texts, after the words of the others were seen."""
    for metric in metrics():
        metric.missing()
        for sample in (texts[:-SAMPLE], texts[-SAMPLE:]):
            began = time.process_time()
            metric.score_batch(sample[:-1], sample[1:])
            took = time.process_time() - began
        print(f"{metric.name:<16} {took / (SAMPLE - 1) * count:8.1f} CPU s", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--predictions", type=int, default=28_743)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    texts = pieces(options.reviews, 2 * options.predictions)
    cpu_of_each(texts[: 3 * SAMPLE], options.predictions)
    parts = [texts[start : start + 2 * PART] for start in range(0, len(texts), 2 * PART)]
    began = time.monotonic()
    # A forked process would read WordNet's files through the same handles as the others.
    with ProcessPoolExecutor(options.cores, mp_context=get_context("spawn")) as pool:
        cpu = sum(pool.map(score_part, parts, chunksize=8))
    wall = time.monotonic() - began
    print(f"{options.predictions:,} predictions, {options.cores} processes: {wall:.1f} s, {cpu:.1f} CPU s")


if __name__ == "__main__":
    main()
