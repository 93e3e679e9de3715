"""The ratios of the other benchmarks in small, against those that were recorded: fails where one fell by over 10%.

    python -m benchmarks.quick [--record] [--repeats 3]         (make bench-quick; under three minutes)

Nothing here starts Ray. Every ratio is one of work that is done side by side in this process, and higher is better. The
median of the repeats is compared with `benchmarks/results/quick.json`, which `--record` writes. All but the last two
are ratios of CPU seconds, which other work on the machine changes little:

* preparation: embedding and clustering again for every (user, item), over doing both once, as the stages do;
* retrieval, comparing, calls, committing: a fixed computation, over the package's work on so many rows. A fall means
  that a row costs more: in BM25 and its ties, in K-means and its ties, in a worker that asks an engine which answers at
  once, and in writing a part;
* worker over flood: tokens a second of a worker with vLLM and the tiny model, over all its prompts at once;
* cached: the share of prompt tokens that this worker's engine had in its prefix cache.
"""

import argparse
import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import yaml

from benchmarks import reference
from benchmarks.prepare import QUICKSTART
from benchmarks.record import RESULTS, read_figures, write_result
from drp_ray import schema
from drp_ray.config import Config, Embedding
from drp_ray.data.sample_files import write_sample
from drp_ray.data.tiny_model import build_tiny_model
from drp_ray.engines.base import Completion, Message, ModelSpec, Sampling
from drp_ray.engines.embedder import SentenceEmbedder, text_id
from drp_ray.engines.vllm import VllmEngine
from drp_ray.llm.row_caller import RoleSpec
from drp_ray.methods.base import DIFFERENCES
from drp_ray.prompts.pack import PromptPack
from drp_ray.schema import Row
from drp_ray.stages.comparisons import compare_item
from drp_ray.stages.differences import FindDifferences
from drp_ray.stages.retrieval import retrieve
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import commit_part

ALLOWED_FALL = 0.1
USERS = 120
HOT_ITEMS, REQUESTS = 2, 6
"""Of the items that most users asked for, so many are really embedded, for so many users each."""

ROWS, MODEL_ROWS = 400, 48
REPLY_TOKENS = 32
FIXED_BYTES = 200_000_000


class InstantEngine:
    """Answers every chat at once with the same feature."""

    honours_seed, context_length, concurrency = True, None, 256

    def __init__(self, spec: ModelSpec) -> None:
        pass

    async def start(self) -> None:
        """Nothing to load."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """A block in the output format of DRP."""
        text = "---\n[Habit]\nDefinition: a habit\nDifference Description: has it\n---"
        return Completion(text, "stop", prompt_tokens=1_000, cached_tokens=0, completion_tokens=20)

    async def close(self) -> None:
        """Nothing to free."""


def main() -> None:
    """Measure, print a line a ratio, and record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the ratios instead of comparing them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not (arguments.record or (arguments.results / "quick.json").exists()):
        sys.exit("No ratios are recorded yet: on a machine that does nothing else, make bench-quick RECORD=1")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        ratios = measured(Path(scratch), arguments.repeats)
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    if arguments.record:
        write_result(arguments.results / "quick.json", {"ratios": medians, "of": ratios})
    told, falls = compared(medians, read_figures("quick", arguments.results)["ratios"])
    print("\n".join(told))
    print(f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    if falls:
        sys.exit(f"fell by more than {ALLOWED_FALL:.0%}: {', '.join(falls)}")


def compared(medians: dict[str, float], recorded: dict[str, float]) -> tuple[list[str], list[str]]:
    """A line for each ratio, and the names of those that fell too far; one that was recorded must be measured."""
    lines = [f"{name}: {medians.get(name, 0.0):.3f} (recorded {value:.3f})" for name, value in recorded.items()]
    falls = [name for name, value in recorded.items() if medians.get(name, 0.0) < (1 - ALLOWED_FALL) * value]
    return lines, falls


def measured(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Every ratio, `repeats` times."""
    torch.set_num_threads(1)  # threads that wait for each other burn CPU seconds
    config = sample_config(folder)
    cases, items = reference.load_cases(config)
    rows = item_rows(cases, items)
    pairs = compared_pairs(rows, config, hashed)
    found: dict[str, list[float]] = {}
    on_cpu: dict[str, Callable[[], float]] = {
        "preparation": preparation(of_hot_items(cases), items, config),
        "retrieval": over(lambda: retrieve_all(cases, items, config)),
        "comparing": over(lambda: compared_pairs(rows, config, hashed)),
        "calls": over(lambda: answered(pairs[:ROWS])),
        "committing": over(lambda: commit(pairs, folder / "part")),
    }
    for name, once in on_cpu.items():
        found[name] = [once() for _ in range(repeats)]
        print(f"{name}: {', '.join(f'{value:.3f}' for value in found[name])}", flush=True)
    model = str(build_tiny_model(folder / "model"))
    return found | asyncio.run(with_vllm(pairs[:MODEL_ROWS], model, repeats))


def over(work: Callable[[], object]) -> Callable[[], float]:
    """CPU seconds of a fixed computation over those of some work."""

    def once() -> float:
        return cpu_seconds(fixed) / cpu_seconds(work)

    return once


def fixed() -> None:
    """The same work on every day: a digest of many bytes, and sums of small objects."""
    hashlib.sha256(bytes(FIXED_BYTES)).hexdigest()
    sum(len(str(number)) for number in range(500_000))


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads, for one piece of work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def sample_config(folder: Path) -> Config:
    """DRP on the generated sample with the quickstart's embedder."""
    write_sample(LocalFolder(folder / "sample"), USERS, seed=0)
    settings: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"dataset": str(folder / "sample"), "root": str(folder)}
    settings |= {"retrieval": {"n": 8}, "selection": {"k": 4}}
    return Config.model_validate(settings)


def item_rows(cases: Sequence[reference.Case], items: dict[str, Row]) -> list[Row]:
    """The rows of `items` for the pairs of some users."""
    rows: dict[str, Any] = {}
    for case in cases:
        for rank, pair in enumerate(case.pairs):
            blank = {"item_id": pair.item_id, "title": None, "description": None}
            reviews = [{**review, "text_id": text_id(review["text"]), "embedded_in": 0} for review in pair.reviews]
            fresh = {**blank, **items.get(pair.item_id, {}), "reviews": reviews, "requested_by": []}
            request = {"user_id": pair.user_id, "rank": rank, "target_timestamp": case.user["target"]["timestamp"]}
            rows.setdefault(pair.item_id, fresh)["requested_by"].append(request)
    return [rows[item_id] for item_id in sorted(rows)]


def hashed(texts: list[str]) -> np.ndarray:
    """Vectors that follow from the texts: float32[n, 64] of length 1."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
    vectors = np.stack([np.random.default_rng(seed).normal(size=64) for seed in seeds])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def compared_pairs(rows: list[Row], config: Config, encode: Callable[[list[str]], np.ndarray]) -> list[Row]:
    """The rows of `comparisons`: every text is encoded once, every item clustered once."""
    texts = sorted({review["text"] for row in rows for review in row["reviews"]})
    vectors = dict(zip(map(text_id, texts), encode(texts), strict=True))
    return [pair for row in rows for pair in compare_item(row, vectors, config.selection)]


def of_hot_items(cases: list[reference.Case]) -> list[reference.Case]:
    """The users with only those pairs that are of the most requested items, a few for each."""
    pairs = [pair for case in cases for pair in case.pairs]
    hot = [item for item, _ in Counter(pair.item_id for pair in pairs).most_common(HOT_ITEMS)]
    kept = {pair.key for item in hot for pair in [pair for pair in pairs if pair.item_id == item][:REQUESTS]}
    return [replace(case, pairs=[pair for pair in case.pairs if pair.key in kept]) for case in cases]


def preparation(cases: list[reference.Case], items: dict[str, Row], config: Config) -> Callable[[], float]:
    """CPU seconds of the papers' procedure over those of the package's, with the real embedder."""
    embedder = SentenceEmbedder(Embedding.model_validate({**config.embedding.model_dump(), "replicas": os.cpu_count()}))
    pairs, rows = [pair for case in cases for pair in case.pairs], item_rows(cases, items)

    class Plain:
        def encode(self, texts: list[str], show_progress_bar: bool = False) -> np.ndarray:
            return embedder.encode(texts)

    def once() -> float:
        again = cpu_seconds(lambda: [reference.represent(pair, Plain(), config.selection) for pair in pairs])
        return again / cpu_seconds(lambda: compared_pairs(rows, config, embedder.encode))

    return once


def retrieve_all(cases: list[reference.Case], items: dict[str, Row], config: Config) -> None:
    """BM25 for all users."""
    known: Any = {name: CatalogueItem(row) for name, row in items.items()}
    for case in cases:
        retrieve(case.user["profile"], case.user["target"], known, config.retrieval, config.selection.k)


class CatalogueItem:
    """An item as retrieval sees it, with more reviewers than it asks for."""

    def __init__(self, row: Row) -> None:
        self.title, self.description, self.reviewers = row["title"], row["description"], 100


def worker_of(engine: str, model: str) -> FindDifferences:
    """The worker of the stage `differences` with DRP's programme."""
    arguments = {"enforce_eager": True, "max_num_seqs": 16}
    spec = ModelSpec(engine=f"{__name__}:{engine}", id=model, max_model_len=8_192, engine_args=arguments)
    sampling = Sampling(temperature=0.7, top_p=0.95, max_tokens=REPLY_TOKENS)
    return FindDifferences(
        models={"llm": spec},
        roles={role: RoleSpec("llm", sampling) for role in ("extractor", "validator")},
        seed=42,
        max_attempts=1,
        programme=DIFFERENCES["drp"],
        prompts=PromptPack.load(),
        dimensions=("writing", "emotion", "semantic"),
    )


def answered(pairs: list[Row]) -> pa.Table:
    """The rows of `differences` for some comparisons, by an engine that answers at once."""

    async def run() -> pa.Table:
        worker = worker_of("InstantEngine", "any")
        await worker.start(lambda **counts: None)
        try:
            return await worker.work("part", pa.Table.from_pylist(pairs, schema.COMPARISONS), None)
        finally:
            await worker.close()

    return asyncio.run(run())


def commit(pairs: list[Row], folder: Path) -> None:
    """Write comparisons as one part, as a stage does."""
    commit_part(LocalFolder(folder), "part-00000.parquet", pa.Table.from_pylist(pairs, schema.COMPARISONS), {}, "")


class KeptEngine(VllmEngine):
    """vLLM that notes its calls; one engine serves all repeats."""

    calls: list[tuple[list[Message], Sampling]]

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer a chat."""
        self.calls.append((messages, sampling))
        return await super().complete(messages, sampling)


async def with_vllm(pairs: list[Row], model: str, repeats: int) -> dict[str, list[float]]:
    """A worker's tokens a second over those of its prompts at once, and the cached share, in turns."""
    KeptEngine.calls = []
    worker = worker_of("KeptEngine", model)
    await worker.start(lambda **counts: None)
    engine: Any = worker.loaded().engines["llm"]
    table = pa.Table.from_pylist(pairs, schema.COMPARISONS)
    await worker.work("part", table.slice(0, 4), None)
    found: dict[str, list[float]] = {"worker over flood": [], "cached": []}
    for _ in range(repeats):
        KeptEngine.calls = []
        await emptied(engine)
        began = time.perf_counter()
        rows = await worker.work("part", table, None)
        staged = time.perf_counter() - began
        calls = list(KeptEngine.calls)
        await emptied(engine)
        began = time.perf_counter()
        await asyncio.gather(*(engine.complete(messages, sampling) for messages, sampling in calls))
        found["worker over flood"].append((time.perf_counter() - began) / staged)
        cached, prompts = (sum(rows[name].to_pylist()) for name in ("cached_tokens", "prompt_tokens"))
        found["cached"].append(cached / prompts)
    await worker.close()
    return found


async def emptied(engine: Any) -> None:
    """Forget all cached prefixes of a live engine."""
    await engine._engine._llm.reset_prefix_cache()


if __name__ == "__main__":
    # The module that engines are made from must have one name.
    from benchmarks import quick

    quick.main()
