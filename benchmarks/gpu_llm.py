"""Tokens a second of vLLM on DRP's prompts, for the shapes of Qwen2.5 with random weights, on one GPU.

Hubs are out of reach for a benchmark, so the model's folder is written here: the configuration of the real shape, the
tokenizer of the package's tiny model with unused tokens up to the vocabulary of the shape, and no weights, which vLLM
draws (`load_format: dummy`). Speed and memory are those of the real model; what it writes is noise, and every reply has
the length limit. Rows are asked as the stage `differences` asks them, an extraction and then its validation, and then
all the same prompts at once (the flood). The share is the rate of the first over that of the second.

Not measured here: the whole job (`benchmarks/llm_stage.py --gpus 1 --model FOLDER` does that with Ray), and how full
the cache is at every moment; its size in tokens and the share of prompt tokens that it had are.
"""

import argparse
import asyncio
import itertools
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_embedding import texts_of_amazon_length
from benchmarks.prefix_reuse import VARIANTS, Compared, asked, differences_text, sampling
from drp_ray.data.tiny_model import build_tiny_model
from drp_ray.engines.base import ModelSpec
from drp_ray.engines.vllm import VllmEngine
from drp_ray.prompts.pack import PromptPack
from drp_ray.schema import Row

VOCABULARY = 152_064
CONTEXT = 32_768
SHAPES = {
    "7B": {"hidden_size": 3_584, "intermediate_size": 18_944, "heads": 28, "kv_heads": 4, "layers": 28},
    "14B": {"hidden_size": 5_120, "intermediate_size": 13_824, "heads": 40, "kv_heads": 8, "layers": 48},
}
"""Qwen2.5's, as its model cards give them."""

PAIRS_OF_AN_ITEM, REPRESENTATIVES = 4, 4
FRACTION = 0.45
"""Of the GPU's memory that each of two engines takes where they share it."""


@dataclass(frozen=True)
class Case:
    """A model's shape, arguments of its engines beside the usual ones, and how many engines share the GPU."""

    name: str
    shape: str
    engine_args: dict[str, Any] = field(default_factory=dict)
    engines: int = 1


def planned(shapes: list[str]) -> list[Case]:
    """The cases in their order: the usual settings of every shape first, then one change each for the first shape."""
    first = shapes[0]
    changes = {
        "64 sequences at once": {"max_num_seqs": 64},
        "512 sequences at once": {"max_num_seqs": 512},
        "no chunked prefill": {"enable_chunked_prefill": False, "max_num_batched_tokens": CONTEXT},
        "fp8 weights": {"quantization": "fp8"},
        "fp8 weights and cache": {"quantization": "fp8", "kv_cache_dtype": "fp8"},
        "no prefix caching": {"enable_prefix_caching": False},
    }
    usual = [Case("as it is", shape) for shape in shapes]
    changed = [Case(name, first, arguments) for name, arguments in changes.items()]
    return [*usual, *changed, Case("two engines, half the GPU each", first, {"gpu_memory_utilization": FRACTION}, 2)]


def write_model(folder: Path, shape: str) -> Path:
    """Write a folder for `load_format: dummy`: the tiny model's tokenizer, padded, and the configuration of a shape."""
    build_tiny_model(folder)
    (folder / "model.safetensors").unlink(missing_ok=True)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pad_vocabulary(tokenizer, VOCABULARY)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **configuration(shape)}, indent=2))
    return folder


def configuration(shape: str) -> dict[str, Any]:
    """What the configuration of a shape says other than the tiny model's."""
    size = SHAPES[shape]
    return {
        "hidden_size": size["hidden_size"],
        "intermediate_size": size["intermediate_size"],
        "num_attention_heads": size["heads"],
        "num_key_value_heads": size["kv_heads"],
        "num_hidden_layers": size["layers"],
        "max_window_layers": size["layers"],
        "layer_types": ["full_attention"] * size["layers"],
        "max_position_embeddings": CONTEXT,
        "vocab_size": VOCABULARY,
        "dtype": "bfloat16",
    }


def pad_vocabulary(tokenizer: dict[str, Any], size: int) -> None:
    """Add tokens that no text is made of to a `tokenizer.json`, until every id of the model can be decoded."""
    vocabulary = tokenizer["model"]["vocab"]
    taken = {*vocabulary.values(), *(token["id"] for token in tokenizer["added_tokens"])}
    vocabulary |= {f"unused{number}": number for number in range(size) if number not in taken}


def parameters_of(shape: str) -> int:
    """Weights of a shape: what its memory and its speed follow from."""
    size = SHAPES[shape]
    head = size["hidden_size"] // size["heads"]
    attention = size["hidden_size"] * head * (2 * size["heads"] + 2 * size["kv_heads"])
    biases = head * (size["heads"] + 2 * size["kv_heads"])
    layer = attention + biases + 3 * size["hidden_size"] * size["intermediate_size"] + 2 * size["hidden_size"]
    return size["layers"] * layer + 2 * VOCABULARY * size["hidden_size"] + size["hidden_size"]


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
    """All planned cases, each with engines of its own; a case that fails is told and the others go on."""
    rows, found = rows_of_amazon_length(arguments.pairs), {}
    for case in planned(arguments.shapes):
        model = str(write_model(folder / case.shape, case.shape))
        name = f"{case.shape}, {case.name}"
        try:
            found[name] = {**asdict(case), **asyncio.run(measured(case, model, rows, arguments.reply_tokens))}
        except Exception as error:  # what vLLM raises where a GPU, or its memory, does not allow a case
            found[name] = {**asdict(case), "could_not_run": f"{type(error).__name__}: {error}"}
        print(f"{name}: {found[name]}", flush=True)
    return found


async def measured(case: Case, model: str, rows: list[Compared], reply_tokens: int) -> dict[str, float]:
    """Start the engines of a case and ask: as the stage does, then everything at once."""
    arguments = {"load_format": "dummy", **case.engine_args}
    spec = ModelSpec(engine="vllm", id=model, num_gpus=1, max_model_len=CONTEXT, engine_args=arguments)
    engines = [VllmEngine(spec) for _ in range(case.engines)]
    try:
        began = time.perf_counter()
        for engine in engines:
            await engine.start()
        start_s = time.perf_counter() - began
        figures = await rates(engines, rows, reply_tokens)
    finally:
        for engine in engines:
            await engine.close()
    return {"start_s": start_s, **figures}


async def rates(engines: list[VllmEngine], rows: list[Compared], reply_tokens: int) -> dict[str, float]:
    """Tokens a second of all engines together, rows dealt out in turn by item; a few rows warm each engine up."""
    dealt = [[row for row in rows if int(row.item_id) % len(engines) == place] for place in range(len(engines))]
    seats = [engine.concurrency // 2 for engine in engines]
    usual = VARIANTS["oldest row first"]
    await asyncio.gather(*(asked(usual, rows[:4], engine, 4, 8) for engine in engines))
    await emptied(engines)
    began = time.perf_counter()
    parts = await asyncio.gather(
        *(asked(usual, mine, engine, n, reply_tokens) for mine, engine, n in zip(dealt, engines, seats, strict=True))
    )
    staged_s = time.perf_counter() - began
    done = list(itertools.chain.from_iterable(first + second for first, second in parts))
    tokens = sum(each.prompt_tokens + each.completion_tokens for each in done)
    await emptied(engines)
    flood_s = await flood(engines, dealt, reply_tokens)
    return {
        "calls": len(done),
        "tokens_per_s": tokens / staged_s,
        "output_tokens_per_s": sum(each.completion_tokens for each in done) / staged_s,
        "flood_tokens_per_s": tokens / flood_s,
        "share_of_flood": flood_s / staged_s,
        "cached": sum(each.cached_tokens for each in done) / sum(each.prompt_tokens for each in done),
        "mean_prompt_tokens": float(np.mean([each.prompt_tokens for each in done])),
        "kv_tokens": sum(kv_tokens(engine) for engine in engines),
    }


async def emptied(engines: list[VllmEngine]) -> None:
    """Forget all cached prefixes."""
    for engine in engines:
        await engine._llm.reset_prefix_cache()


async def flood(engines: list[VllmEngine], dealt: list[list[Compared]], reply_tokens: int) -> float:
    """The seconds of the same prompts as independent requests, all at once."""
    pack, calls = PromptPack.load(), []
    for engine, mine in zip(engines, dealt, strict=True):
        for row in mine:
            extraction = pack.open_extraction(row.comparison, ("writing", "emotion", "semantic"))
            validation = pack.validation(row.comparison, differences_text(row))
            for prompt in (extraction, validation):
                calls.append(engine.complete(prompt.messages_for_model(), sampling(0.6, 0, reply_tokens)))
    began = time.perf_counter()
    await asyncio.gather(*calls)
    return time.perf_counter() - began


def kv_tokens(engine: VllmEngine) -> int:
    """Tokens that an engine's cache has room for."""
    cache = engine._llm.vllm_config.cache_config
    return int(cache.num_gpu_blocks * cache.block_size)
