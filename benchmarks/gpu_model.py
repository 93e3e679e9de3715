"""Folders of models with the shape of real ones and random weights, for machines that no hub can be reached from.

A language model's folder has the configuration of Qwen2.5 in one of its sizes, and no weights, which vLLM draws
(`load_format: dummy`); speed and memory are those of the real model. What it writes is noise, so its vocabulary is
filled up with made-up words: a reply of so many tokens is as many tokens again where the next prompt quotes it. Every
so many of these words ends a reply, so that lengths are geometric, with the mean that is asked for: as wide as those
of models that think are (a deviation as large as the mean), and with no limit that all replies reach together.

The embedding model's folder has the shape of all-MiniLM-L6-v2 with random weights: clusters of it mean nothing, the
time that it takes is that of the real one.
"""

import itertools
import json
from pathlib import Path
from typing import Any

from drp_ray.data.tiny_model import build_tiny_model

VOCABULARY = 152_064
CONTEXT = 32_768
SHAPES = {
    "1.5B": {"hidden_size": 1_536, "intermediate_size": 8_960, "heads": 12, "kv_heads": 2, "layers": 28},
    "7B": {"hidden_size": 3_584, "intermediate_size": 18_944, "heads": 28, "kv_heads": 4, "layers": 28},
    "14B": {"hidden_size": 5_120, "intermediate_size": 13_824, "heads": 40, "kv_heads": 8, "layers": 48},
}
"""Qwen2.5's, as its model cards give them."""

SPACE = "\u0120"
"""How a byte-level tokenizer writes the space before a word."""


def write_language_model(folder: Path, shape: str, reply_tokens: int) -> Path:
    """Write the folder of a shape whose replies have so many tokens in the mean, where it is not there already."""
    if (folder / "generation_config.json").exists():
        return folder
    # Imported here: `--help` needs no such library.
    from transformers import AutoTokenizer

    build_tiny_model(folder)
    (folder / "model.safetensors").unlink(missing_ok=True)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    special = {token["id"] for token in tokenizer["added_tokens"]}
    added = add_words(tokenizer["model"], special, AutoTokenizer.from_pretrained(folder))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {**json.loads((folder / "config.json").read_text()), **configuration(shape)}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    ends = added[: round(VOCABULARY / reply_tokens)]
    generation = {"eos_token_id": [config["eos_token_id"], *ends], "pad_token_id": config.get("pad_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def add_words(model: dict[str, Any], taken: set[int], tokenizer: Any) -> list[int]:
    """Fill a `tokenizer.json` up to the vocabulary with words that are two of its tokens; the ids of the words.

    A word is read as one token, since its two are merged, the last of all merges: words whose letters the tokenizer
    cuts in another place are left out.

    Raises:
        ValueError: its tokens do not make enough words.
    """
    vocabulary = model["vocab"]
    free = sorted(set(range(VOCABULARY)) - set(vocabulary.values()) - taken)
    pieces = [piece for piece in vocabulary if piece.removeprefix(SPACE).isascii() and piece.strip(SPACE).isalpha()]
    firsts = [piece for piece in pieces if piece.startswith(SPACE)]
    seconds = [piece for piece in pieces if not piece.startswith(SPACE)]
    texts = [f" {first[1:]}{second}" for first in firsts for second in seconds]
    read = tokenizer(texts, add_special_tokens=False)["input_ids"]
    pairs = itertools.product(firsts, seconds)
    apart = [pair for pair, ids in zip(pairs, read, strict=True) if ids == [vocabulary[piece] for piece in pair]]
    words = {first + second: [first, second] for first, second in apart}
    if len(words) < len(free):
        raise ValueError(f"{len(words)} words for {len(free)} tokens")
    for number, (word, pair) in zip(free, words.items(), strict=False):
        vocabulary[word] = number
        model["merges"].append(pair)
    return free


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


def parameters_of(shape: str) -> int:
    """Weights of a shape: what its memory and its speed follow from."""
    size = SHAPES[shape]
    head = size["hidden_size"] // size["heads"]
    attention = size["hidden_size"] * head * (2 * size["heads"] + 2 * size["kv_heads"])
    biases = head * (size["heads"] + 2 * size["kv_heads"])
    layer = attention + biases + 3 * size["hidden_size"] * size["intermediate_size"] + 2 * size["hidden_size"]
    return size["layers"] * layer + 2 * VOCABULARY * size["hidden_size"] + size["hidden_size"]


def write_embedding_model(folder: Path) -> Path:
    """Write a sentence-transformers folder of all-MiniLM-L6-v2's shape: 6 layers, 384 numbers, 256 tokens."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import AutoTokenizer, BertConfig, BertModel

    build_tiny_model(folder / "words")
    tokenizer = AutoTokenizer.from_pretrained(folder / "words")
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1_536,
        max_position_embeddings=512,
    )
    BertModel(shape).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    words = models.Transformer(str(folder / "bert"), max_seq_length=256)
    pooling = models.Pooling(shape.hidden_size)
    SentenceTransformer(modules=[words, pooling, models.Normalize()]).save(str(folder / "model"))
    return folder / "model"
