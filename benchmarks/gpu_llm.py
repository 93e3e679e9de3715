"""Tokens a second of vLLM on DRP's prompts, for the shapes of Qwen2.5 with random weights, on one GPU.

The models are those of `benchmarks/gpu_model.py`: real shapes, random weights, replies of geometric lengths. Rows are
asked in these ways:

* two rows a seat: as the stage `differences` asks them, an extraction and then its validation, with twice as many
  rows in flight as the scheduler runs sequences (`VllmEngine.concurrency` where the configuration gives none);
* a quarter more, one row a seat: the same with fewer rows in flight;
* rounds: as the papers' released procedure asks: all first rows' extractions, the next rows' when the last of them has
  ended, and then the validations in the same way;
* flood: all the prompts at once, which is what the engine can do at most.

Lengths of replies are the model's own and differ between the ways by chance; tokens a second are compared, and a few
hundred replies have nearly the same sum. The whole job is `benchmarks/against_reference.py --shape 7B`. How full the
cache is at every moment is not measured; its size in tokens is, and the share of prompt tokens that it had.
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.gpu_embedding import texts_of_amazon_length
from benchmarks.gpu_model import CONTEXT, write_language_model
from benchmarks.prefix_reuse import Compared, Variant, asked, differences_text, sampling
from benchmarks.record import write_result
from drp_ray.engines.base import Completion, ModelSpec
from drp_ray.engines.vllm import VllmEngine
from drp_ray.prompts.pack import PromptPack
from drp_ray.prompts.prompt import Prompt
from drp_ray.schema import Row

PAIRS_OF_AN_ITEM, REPRESENTATIVES = 4, 4
ROUNDS = 8
"""Comparisons of a user: rows over this are users."""

Way = Callable[[VllmEngine, list[Compared], int], Awaitable[list[Completion]]]
"""Asks an engine about rows, each reply with a limit of tokens; the completions of both calls of every row."""


@dataclass(frozen=True)
class Case:
    """A model's shape, its engines' arguments beside the usual ones, how many share the GPU, and the ways to ask."""

    name: str
    shape: str
    engine_args: dict[str, Any] = field(default_factory=dict)
    engines: int = 1
    ways: tuple[str, ...] = ("two rows a seat", "flood")


def planned(shapes: list[str], ways: list[str] | None = None) -> list[Case]:
    """The cases in their order: all ways for the first shape, the usual ones for the others, then one change each."""
    first = shapes[0]
    changes = {
        "fp8 weights": {"quantization": "fp8"},
        "64 sequences at once": {"max_num_seqs": 64},
        "512 sequences at once": {"max_num_seqs": 512},
        "no prefix caching": {"enable_prefix_caching": False},
        "no chunked prefill": {"enable_chunked_prefill": False, "max_num_batched_tokens": CONTEXT},
        "fp8 weights and cache": {"quantization": "fp8", "kv_cache_dtype": "fp8"},
    }
    usual = [Case("as it is", first, ways=tuple(ways or WAYS)), *(Case("as it is", shape) for shape in shapes[1:])]
    shared = Case("two engines, half the GPU each", first, engines=2)
    return [*usual, shared, *(Case(name, first, arguments) for name, arguments in changes.items())]


def rows_of_amazon_length(count: int) -> list[Compared]:
    """Comparisons with reviews of Amazon's lengths; the pairs of an item share three of its representatives or all."""
    items = -(-count // PAIRS_OF_AN_ITEM)
    texts = iter(texts_of_amazon_length(items * (REPRESENTATIVES + 1 + PAIRS_OF_AN_ITEM)))
    rows = []
    for item in range(items):
        others = [review(next(texts)) for _ in range(REPRESENTATIVES + 1)]
        for pair in range(PAIRS_OF_AN_ITEM):
            own_group = pair % (REPRESENTATIVES + 1)
            groups = tuple(group for group in range(REPRESENTATIVES + 1) if group != own_group)
            comparison = {
                "title": f"Item {item}",
                "description": others[0]["text"][:400],
                "representatives": [others[group] for group in groups],
                "review": review(next(texts)),
            }
            rows.append(Compared(comparison, str(item), own_group, groups))
    return rows[:count]


def review(text: str) -> Row:
    """A review as the templates read one."""
    return {"rating": 4.0, "title": text[:30], "text": text}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The planned cases that begin within the time, each with engines of its own; one that fails is told."""
    rows, found = rows_of_amazon_length(arguments.pairs), dict[str, Any]()
    give_up = time.monotonic() + arguments.seconds
    for case in planned(arguments.shapes, arguments.ways):
        name = f"{case.shape}, {case.name}"
        if time.monotonic() > give_up:
            found[name] = {"not_run": "the time was up"}
            continue
        model = write_language_model(folder / case.shape, case.shape, arguments.reply_tokens)
        found[name] = asdict(case)
        try:
            asyncio.run(measure_case(case, str(model), rows, arguments, found))
        except Exception as error:  # what vLLM raises where a GPU, or its memory, does not allow a case
            found[name]["could_not_run"] = f"{type(error).__name__}: {str(error)[:300]}"
            print(f"{name}: {found[name]['could_not_run']}", flush=True)
    return found


async def measure_case(
    case: Case, model: str, rows: list[Compared], arguments: argparse.Namespace, found: dict[str, Any]
) -> None:
    """Start the engines of a case and ask in its ways, with an empty cache before each; each way is kept as it ends."""
    engine_args = {"load_format": "dummy", "max_num_seqs": arguments.max_num_seqs, **case.engine_args}
    gpus = 1 / case.engines if arguments.device == "cuda" else 0
    context = CONTEXT if arguments.device == "cuda" else None
    spec = ModelSpec(engine="vllm", id=model, num_gpus=gpus, max_model_len=context, engine_args=engine_args)
    engines = [VllmEngine(spec) for _ in range(case.engines)]
    try:
        began = time.perf_counter()
        await asyncio.gather(*(engine.start() for engine in engines))
        figures = found[f"{case.shape}, {case.name}"]
        figures |= {"start_s": time.perf_counter() - began, "kv_tokens": sum(map(kv_tokens, engines))}
        await asyncio.gather(*(flood(engine, rows[:4], arguments.max_tokens) for engine in engines))
        for way in case.ways:
            figures[way] = await rate(WAYS[way], engines, rows, arguments.max_tokens)
            print(f"{case.shape}, {case.name}, {way}: {figures[way]}", flush=True)
            if arguments.out:
                write_result(arguments.out, {"llm": found})
    finally:
        for engine in engines:
            await engine.close()


async def rate(way: Way, engines: list[VllmEngine], rows: list[Compared], max_tokens: int) -> dict[str, float]:
    """Tokens a second of all engines together, rows dealt out in turn by item."""
    dealt = [[row for row in rows if int(row.item_id) % len(engines) == place] for place in range(len(engines))]
    for engine in engines:
        await engine._llm.reset_prefix_cache()
    began = time.perf_counter()
    parts = await asyncio.gather(*(way(engine, mine, max_tokens) for engine, mine in zip(engines, dealt, strict=True)))
    seconds = time.perf_counter() - began
    done = list(itertools.chain.from_iterable(parts))
    prompt, reply, cached = (
        sum(getattr(each, kind) for each in done) for kind in ("prompt_tokens", "completion_tokens", "cached_tokens")
    )
    return {
        "calls": len(done),
        "seconds": seconds,
        "tokens_per_s": (prompt + reply) / seconds,
        "output_tokens_per_s": reply / seconds,
        "cached": cached / prompt,
        "mean_prompt_tokens": prompt / len(done),
        "mean_reply_tokens": reply / len(done),
    }


def staged(rows_per_seat: float) -> Way:
    """The stage's way, with so many rows in flight for each sequence that the scheduler runs."""

    async def ask(engine: VllmEngine, rows: list[Compared], max_tokens: int) -> list[Completion]:
        sequences = engine._llm.vllm_config.scheduler_config.max_num_seqs
        variant = Variant(rows_per_seat=rows_per_seat, by_age=True)
        first, second = await asked(variant, rows, engine, sequences, max_tokens)
        return [*first, *second]

    return ask


async def in_rounds(engine: VllmEngine, rows: list[Compared], max_tokens: int) -> list[Completion]:
    """The released procedure's way: as many rounds as a user has comparisons, a barrier after each."""
    done = list[Completion]()
    for kind in (extraction_of, validation_of):
        for rank in range(ROUNDS):
            done += await at_once(engine, [kind(row) for row in rows[rank::ROUNDS]], max_tokens)
    return done


async def flood(engine: VllmEngine, rows: list[Compared], max_tokens: int) -> list[Completion]:
    """All prompts as independent requests."""
    return await at_once(engine, [kind(row) for row in rows for kind in (extraction_of, validation_of)], max_tokens)


async def at_once(engine: VllmEngine, prompts: list[Prompt], max_tokens: int) -> list[Completion]:
    """The replies to prompts that are all sent together."""
    calls = (engine.complete(prompt.messages_for_model(), sampling(0, max_tokens)) for prompt in prompts)
    return list(await asyncio.gather(*calls))


def extraction_of(row: Compared) -> Prompt:
    """The first prompt of a row."""
    return prompts().open_extraction(row.comparison, ("writing", "emotion", "semantic"))


def validation_of(row: Compared) -> Prompt:
    """The second one, with a text of the length of real differences in place of the first one's reply."""
    return prompts().validation(row.comparison, differences_text(row))


@cache
def prompts() -> PromptPack:
    """The package's own."""
    return PromptPack.load()


WAYS: Mapping[str, Way] = {
    "two rows a seat": staged(2),
    "flood": flood,
    "rounds": in_rounds,
    "a quarter more": staged(1.25),
    "one row a seat": staged(1),
}


def kv_tokens(engine: VllmEngine) -> int:
    """Tokens that an engine's cache has room for."""
    cache = engine._llm.vllm_config.cache_config
    return int(cache.num_gpu_blocks * cache.block_size)
