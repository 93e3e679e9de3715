"""A language model of a million random parameters, so that every stage can run without a download or a GPU.

What it writes is noise, but it is a complete Hugging Face folder with its own tokenizer and chat template,
and vLLM treats it like any other.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from drp_ray.data.sample import sample_dataset

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

VERSION = 1
"""Raise this when the same seed no longer gives the same model: folders of other versions are built again."""

MARKER = "tiny_model.json"
VOCABULARY = 2_000
CONTEXT_LENGTH = 8_192
TRAINING_USERS = 200

SPECIAL_TOKENS = END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
"""Their positions are their ids."""
THINK, END_THINK = "<think>", "</think>"

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking -%}
{{ '<think>\\n' }}
{%- endif -%}
{%- endif -%}
"""
"""ChatML. `enable_thinking` opens the reply with `<think>`, as the templates of reasoning models do."""


def build_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write the model of `seed` to `folder` and return `folder`; one that is there already is left as it is.

    The folder appears whole or not at all. A tiny model of another version or seed is replaced. Raises
    FileExistsError if the folder holds anything else.
    """
    marker = _marker(seed)
    if _read_marker(folder) == marker:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        built = Path(scratch) / "built"
        _train_tokenizer(seed).save_pretrained(built)
        _write_weights(built, seed)
        (built / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
        _move(built, folder, marker, Path(scratch))
    return folder


def _marker(seed: int) -> dict[str, Any]:
    return {"version": VERSION, "seed": seed}


def _read_marker(folder: Path) -> dict[str, Any] | None:
    """Return what the folder says it holds; None if there is no folder or an empty one."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileExistsError(
            f"{folder} exists and is no tiny model (it has no {MARKER}): name another folder or remove it"
        ) from None
    return marker


def _move(built: Path, folder: Path, marker: dict[str, Any], scratch: Path) -> None:
    """Put the finished model in its place, unless another process was quicker with the same one."""
    there = _read_marker(folder)
    if there == marker:
        return
    if there is not None:
        folder.rename(scratch / "replaced")
    try:
        built.rename(folder)
    except OSError:
        if _read_marker(folder) != marker:
            raise


def _train_tokenizer(seed: int) -> "Qwen2Tokenizer":
    # Tokens of their own but not special ones, so that decoding shows them, as it does for reasoning models.
    return train_tokenizer(_training_texts(seed), (THINK, END_THINK), VOCABULARY, CHAT_TEMPLATE, CONTEXT_LENGTH)


def train_tokenizer(
    texts: Iterable[str], whole: Sequence[str], vocabulary: int, chat_template: str, context_length: int
) -> "Qwen2Tokenizer":
    """Train a byte-level BPE with all 256 bytes in its alphabet, so that it can encode any text.

    `whole` are passages that are single tokens, beside those that are learned. It is a Qwen2Tokenizer, NFC
    normalisation included, because transformers 5 loads one for every Qwen2 model whatever its folder says.
    """
    # Imported here because the command line must start without torch.
    from tokenizers import AddedToken, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(whole),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    untrained = Qwen2Tokenizer().backend_tokenizer
    untrained.train_from_iterator(texts, trainer)
    trained = json.loads(untrained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(merge) for merge in trained["merges"]],
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        chat_template=chat_template,
        model_max_length=context_length,
    )
    tokenizer.add_tokens([AddedToken(passage, normalized=False, special=False) for passage in whole])
    return tokenizer


def _training_texts(seed: int) -> Iterator[str]:
    users, items = sample_dataset(TRAINING_USERS, seed)
    for profile in users["profile"].to_pylist():
        yield from (review["text"] for review in profile)
    yield from items["description"].to_pylist()


def _write_weights(folder: Path, seed: int) -> None:
    """Draw the weights of a two-layer Qwen2 and write them with its configurations.

    They spread wider than usual, so that the next token depends on all the text so far. The end of a turn is
    as likely as any other of the two thousand tokens.
    """
    # Imported here because the command line must start without torch.
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM
    from transformers.utils import logging

    ends = {
        "eos_token_id": SPECIAL_TOKENS.index(TURN_END),
        "pad_token_id": SPECIAL_TOKENS.index(END_OF_TEXT),
    }
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        initializer_range=0.1,
        tie_word_embeddings=False,
        dtype="float32",
        **ends,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.8, top_p=0.95, **ends)
    with_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if with_bar:
        logging.enable_progress_bar()
