"""How many of DRP's prompt tokens vLLM has in its prefix cache, where the cache is too small for what is in flight.

    python -m benchmarks.prefix_reuse DATASET [--pairs 160] [--max-num-seqs 16] [--kv-shares 0.44 1 1.5]
                                              [--variants NAME …] [--out FILE]

DATASET is a folder as jobs read it, such as `benchmarks/yelp_shape.py` writes. Comparisons of neighbouring items are
made of it (N = 8, K = 4; vectors follow from the texts' digests), and a real vLLM with the tiny model gets their
extractions and validations as the stage `differences` sends them: two calls of a row in sequence, and twice as many
rows in flight as the scheduler runs at once. Reviews are replaced by English of the same length, which the tiny model's
tokenizer knows. The model's replies are noise, so every validation gets a text of the length of real differences
instead. The cache has room for a share of the sequences that the scheduler may run (`--kv-shares`): 0.44 is what
an H100 has for 256 sequences of 1,900 tokens of a model of 14 billion parameters (40 GB at 192 KB a token).

The figures are counts of tokens and do not depend on how fast the machine is. The variants:

* as it is: items in id order, an item's pairs by user id, representatives in group order, first come first served;
* rows by group: an item's pairs by the user's own group, so that those with equal representatives are neighbours;
* shared first: representatives that most of the item's pairs have stand first (another prompt, so another result);
* shuffled rows: no neighbours at all, for comparison;
* dealt to two: every other row, as one of two replicas gets them where rows and not items are dealt out;
* one after another: no more rows in flight than the scheduler runs;
* an eighth, a quarter more: so many more rows in flight than the scheduler runs;
* oldest row first: a validation goes before extractions that wait (vLLM's scheduling policy `priority`).
"""

import argparse
import asyncio
import hashlib
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import reference
from benchmarks.gpu_embedding import joined, sample_reviews
from benchmarks.record import RESULTS, write_result
from drp_ray.config import Config
from drp_ray.data.tiny_model import build_tiny_model
from drp_ray.engines.base import Completion, ModelSpec, Sampling
from drp_ray.engines.vllm import VllmEngine
from drp_ray.prompts.pack import PromptPack
from drp_ray.schema import Row
from drp_ray.stages.strategies.kmeans import cluster

DIMENSIONS, TOPICS = 64, 12
BLOCK = 32
"""Tokens in a block of the cache: the fewest that vLLM's attention on CPUs takes; on GPUs it is 16."""

REPLY_TOKENS = 24
DIFFERENCES = """---
[{name}]
Definition: how the writer handles this side of a review, seen across the whole text and not in single words
Difference Description: where others {others}, this user {user}, which shows in nearly every sentence of the review
---
"""
"""One of five features that stand for a reply: together some 300 tokens of a model of today."""


@dataclass(frozen=True)
class Compared:
    """A comparison as the stage gets it, with the user's own group and the groups of the representatives."""

    comparison: Row
    item_id: str
    own_group: int
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """An order of rows, an order of representatives, how many rows are in flight, and which waiting call goes first."""

    order: Callable[[list[Compared]], list[Compared]] = list
    arrange: Callable[[Compared, Mapping[str, Counter[int]]], Row] = lambda row, shared: row.comparison
    rows_per_seat: float = 2
    by_age: bool = False


def by_group(rows: list[Compared]) -> list[Compared]:
    """Items as they stand, and an item's rows by the user's own group."""
    place = {row.item_id: number for number, row in enumerate(reversed(rows))}
    return sorted(rows, key=lambda row: (-place[row.item_id], row.own_group))


def shuffled(rows: list[Compared]) -> list[Compared]:
    """All rows in a random order, the same each time."""
    return random.Random(0).sample(rows, len(rows))


def shared_first(row: Compared, shared: Mapping[str, Counter[int]]) -> Row:
    """The comparison with its representatives by how many of the item's rows have them, the most first."""
    have = shared[row.item_id]
    order = sorted(range(len(row.groups)), key=lambda place: (-have[row.groups[place]], row.groups[place]))
    return {**row.comparison, "representatives": [row.comparison["representatives"][place] for place in order]}


VARIANTS: dict[str, Variant] = {
    "as it is": Variant(),
    "rows by group": Variant(order=by_group),
    "shared first": Variant(arrange=shared_first),
    "rows by group, shared first": Variant(order=by_group, arrange=shared_first),
    "shuffled rows": Variant(order=shuffled),
    "dealt to two": Variant(order=lambda rows: rows[::2]),
    "one after another": Variant(rows_per_seat=1),
    "oldest row first": Variant(by_age=True),
    "oldest row first, rows by group": Variant(order=by_group, by_age=True),
    "oldest row first, rows by group, shared first": Variant(order=by_group, arrange=shared_first, by_age=True),
    "oldest row first, dealt to two": Variant(order=lambda rows: rows[::2], by_age=True),
    "oldest row first, one after another": Variant(rows_per_seat=1, by_age=True),
    "oldest row first, an eighth more": Variant(rows_per_seat=1.125, by_age=True),
    "oldest row first, a quarter more": Variant(rows_per_seat=1.25, by_age=True),
    "oldest row first, one after another, by group, shared first": Variant(by_group, shared_first, 1, True),
}


def main() -> None:
    """Measure the variants, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pairs", type=int, default=160)
    parser.add_argument("--max-num-seqs", type=int, default=16)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--kv-shares", type=float, nargs="+", default=[0.44, 1.0, 1.5])
    parser.add_argument("--out", type=Path, default=RESULTS / "prefix_reuse.json")
    arguments = parser.parse_args()
    rows = comparisons_of(arguments.dataset, arguments.pairs)
    with tempfile.TemporaryDirectory() as scratch:
        model = build_tiny_model(Path(scratch) / "model")
        figures: dict[str, Any] = {}
        for share in arguments.kv_shares:
            figures[f"{share:g}"] = asyncio.run(measure(arguments, rows, str(model), share))
            write_result(arguments.out, figures)


def comparisons_of(dataset: Path, count: int) -> list[Compared]:
    """Comparisons of items in id order, from the middle of all items, until there are `count`."""
    config = config_of(dataset)
    cases, items = reference.load_cases(config)
    pairs = sorted((pair for case in cases for pair in case.pairs), key=lambda pair: (pair.item_id, pair.user_id))
    start = next(number for number, pair in enumerate(pairs) if pair.item_id > pairs[len(pairs) // 2].item_id)
    groups = {pair.item_id: grouped(pair.reviews, config) for pair in pairs[start : start + count]}
    return [compared(pair, items, *groups[pair.item_id]) for pair in pairs[start : start + count]]


def config_of(dataset: Path) -> Config:
    """DRP as for Yelp, which has neither review titles nor descriptions."""
    settings: dict[str, Any] = {"name": "reuse", "dataset": str(dataset), "root": "unused", "method": "drp"}
    settings["retrieval"] = {"query": ["item_title"], "document": ["item_title", "review_text"]}
    settings["models"] = {"llm": {"id": "unused"}}
    return Config.model_validate(settings)


def grouped(reviews: list[Row], config: Config) -> tuple[list[int], list[tuple[int, int]]]:
    """The group of every review of an item, and the place and the group of every representative."""
    named = [{**review, "text_id": review["text"]} for review in reviews]
    vectors = {review["text"]: vector_of(review["text"]) for review in reviews}
    with threadpool_limits(1):  # for some twenty points threads only wait for each other
        found = cluster(named, vectors, config.selection)
    return found.cluster_of, [(one.position, one.cluster) for one in found.representatives]


def vector_of(text: str) -> np.ndarray:
    """A topic and noise that follow from the text's digest: float32[d] of length 1."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    topic = np.random.default_rng(seed % TOPICS).normal(size=DIMENSIONS)
    vector = topic + np.random.default_rng(seed).normal(size=DIMENSIONS)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def compared(
    pair: reference.Pair, items: Mapping[str, Row], cluster_of: list[int], representatives: list[tuple[int, int]]
) -> Compared:
    """One row of `comparisons`, with the representatives of the groups that are not the user's own."""
    own = cluster_of[next(place for place, review in enumerate(pair.reviews) if review["user_id"] == pair.user_id)]
    others = [(place, group) for place, group in representatives if group != own]
    item = items[pair.item_id]
    comparison = {
        "title": item["title"],
        "description": item["description"],
        "representatives": [in_english(pair.reviews[place]) for place, _ in others],
        "review": in_english(pair.own),
    }
    return Compared(comparison, pair.item_id, own, tuple(group for _, group in others))


def in_english(review: Row) -> Row:
    """The review with sentences of the generated sample in place of its text, as many characters long."""
    seed = int.from_bytes(hashlib.sha256(review["text"].encode()).digest()[:8])
    return {**review, "text": joined(sample_reviews(), len(review["text"]), np.random.default_rng(seed))}


def shared_groups(rows: Sequence[Compared]) -> dict[str, Counter[int]]:
    """How many of an item's rows have each group's representative, by item."""
    shared: dict[str, Counter[int]] = {}
    for row in rows:
        shared.setdefault(row.item_id, Counter()).update(row.groups)
    return shared


async def measure(arguments: argparse.Namespace, rows: list[Compared], model: str, kv_share: float) -> dict[str, Any]:
    """The share of cached prompt tokens in every variant, with one engine whose cache is emptied between them."""
    tokens = await tokens_of(rows, model)
    blocks = round(kv_share * arguments.max_num_seqs * tokens / BLOCK)
    engine = VllmEngine(spec_of(model, max_num_seqs=arguments.max_num_seqs, num_gpu_blocks_override=blocks))
    await engine.start()
    items = len({row.item_id for row in rows})
    print(f"{len(rows)} pairs of {items} items, {tokens:.0f} tokens a sequence, {blocks} blocks of {BLOCK}", flush=True)
    found: dict[str, Any] = {"pairs": len(rows), "items": items, "tokens_of_a_sequence": tokens, "blocks": blocks}
    found["variants"] = {}
    for name in arguments.variants:
        await engine._llm.reset_prefix_cache()
        extracted, validated = await asked(VARIANTS[name], rows, engine, arguments.max_num_seqs)
        found["variants"][name] = {
            "cached": share_cached([*extracted, *validated]),
            "cached_of_extractions": share_cached(extracted),
            "cached_of_validations": share_cached(validated),
        }
        print(
            f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found["variants"][name].items()), flush=True
        )
    await engine.close()
    return found


def spec_of(model: str, **engine_args: Any) -> ModelSpec:
    """The tiny model with a cache of so many blocks."""
    engine_args = {"enforce_eager": True, "block_size": BLOCK, "scheduling_policy": "priority", **engine_args}
    return ModelSpec(engine="vllm", id=model, num_gpus=0, max_model_len=8_192, engine_args=engine_args)


async def tokens_of(rows: list[Compared], model: str) -> float:
    """Tokens of the mean sequence: an extraction or a validation with its reply."""
    from transformers import AutoTokenizer

    tokenizer, pack = AutoTokenizer.from_pretrained(model), PromptPack.load()
    lengths = []
    for row in rows[:50]:
        for prompt in (
            pack.open_extraction(row.comparison, ()),
            pack.validation(row.comparison, differences_text(row)),
        ):
            text = "\n".join(message["content"] for message in prompt.messages_for_model())
            lengths.append(len(tokenizer.encode(text)) + REPLY_TOKENS)
    return statistics.mean(lengths)


def differences_text(row: Compared) -> str:
    """What stands for the extraction's reply: five features, which no other row has."""
    words = row.comparison["review"]["text"].split()
    parts = [" ".join(words[number * 5 : number * 5 + 5]) for number in range(5)]
    return "".join(
        DIFFERENCES.format(name=f"Habit {number + 1}", others="write at length and in order", user=f"writes {part}")
        for number, part in enumerate(parts)
    )


async def asked(
    variant: Variant, rows: list[Compared], engine: VllmEngine, seqs: int, max_tokens: int = REPLY_TOKENS
) -> tuple[list[Completion], list[Completion]]:
    """Ask about all rows as the stage does; the extractions and the validations."""
    pack, shared, seats = PromptPack.load(), shared_groups(rows), asyncio.Semaphore(round(variant.rows_per_seat * seqs))

    async def ask(age: int, row: Compared) -> tuple[Completion, Completion]:
        async with seats:
            priority = age if variant.by_age else 0
            comparison = variant.arrange(row, shared)
            extraction = pack.open_extraction(comparison, ("writing", "emotion", "semantic"))
            validation = pack.validation(comparison, differences_text(row))
            first = await engine.complete(extraction.messages_for_model(), sampling(priority, max_tokens))
            return first, await engine.complete(validation.messages_for_model(), sampling(priority, max_tokens))

    done = await asyncio.gather(*(ask(age, row) for age, row in enumerate(variant.order(rows))))
    return [first for first, _ in done], [second for _, second in done]


def sampling(priority: int, max_tokens: int) -> Sampling:
    """A reply of a random model, which is noise: the prompts are what is measured."""
    return Sampling(temperature=0.6, top_p=0.95, max_tokens=max_tokens, priority=priority)


def share_cached(completions: list[Completion]) -> float:
    """Cached tokens over prompt tokens."""
    return sum(done.cached_tokens for done in completions) / sum(done.prompt_tokens for done in completions)


if __name__ == "__main__":
    main()
