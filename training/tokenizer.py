"""The writer's tokenizer: a byte-level BPE of its world, in which every fixed passage of the prompts is one token.

Prompts are mostly instructions that never change. As single tokens they leave the model's short context, and most of
the time of training and writing, to what does change. Any other text, and any other prompt pack, is encoded as well.
"""

import json
import re
from collections.abc import Iterator
from copy import copy
from itertools import product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from drp_ray.data.tiny_model import CHAT_TEMPLATE, TURN_END, TURN_START, train_tokenizer
from drp_ray.prompts.prompt import Prompt
from training.examples import DIMENSIONS, Exchange, World, example, pack
from training.phrases import phrases
from training.traits import DEFINITIONS, VALUES

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

VOCABULARY = 4_096
CONTEXT_LENGTH = 4_096
TEXTS = 1_500
"""Examples whose texts the tokenizer is trained on."""

LONGEST_LISTS = 5
"""Up to so many past reviews, representatives and differences have single tokens for what stands between them."""

SHORTEST_PASSAGE = 6
HOLE, NUMBER = "\N{REPLACEMENT CHARACTER}", 7_777.0
_HOLES = re.compile(f"{HOLE}|7777")


def build_tokenizer(world: World, seed: int) -> "Qwen2Tokenizer":
    """Train the tokenizer on the world's texts."""
    whole = [*fixed_passages(), *phrases(world.words)]
    return train_tokenizer(_texts(world, seed), whole, VOCABULARY, CHAT_TEMPLATE, CONTEXT_LENGTH)


def load_tokenizer(folder: Path) -> "Qwen2Tokenizer":
    """The tokenizer that `save_pretrained` wrote."""
    from transformers import Qwen2Tokenizer

    return Qwen2Tokenizer.from_pretrained(str(folder))


def without_phrases(tokenizer: "Qwen2Tokenizer", world: World) -> "Qwen2Tokenizer":
    """The same tokens, but the phrases of the world are encoded word by word."""
    from tokenizers import Tokenizer

    known = set(phrases(world.words)) - set(fixed_passages())
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in parts["added_tokens"]:
        if token["content"] in known:
            token["content"] = f"\N{NULL}{token['id']}"  # in no text; the token's place must stay
    changed = copy(tokenizer)
    changed._tokenizer = Tokenizer.from_str(json.dumps(parts))
    return changed


def fixed_passages() -> list[str]:
    """What stands in prompts and replies whatever they are about, the longest first."""
    pieces = {piece.rstrip(" ") for prompt in _hollow_prompts() for piece in _pieces(prompt)}
    pieces |= {f"---\n[{name}]\nDefinition: {text}\nDifference Description:" for name, text in DEFINITIONS.items()}
    pieces |= {f"\n---\n[{name}]\nDefinition: {text}\nDifference Description:" for name, text in DEFINITIONS.items()}
    pieces |= {f"- {name} ({text}):" for name, text in DEFINITIONS.items()}
    pieces |= {f"\n- {name} ({text}):" for name, text in DEFINITIONS.items()}
    pieces |= {"[Summary]: What sets this user apart.", " What else there is.", "[Review]:", "\n---"}
    pieces |= {"[Summary]: What else there is.", "What sets this user apart.", "What else there is."}
    pieces |= {"No difference distinguishes this user."}
    pieces |= {f" {value}" for values in VALUES.values() for value in values} | {f" {name}:" for name in DEFINITIONS}
    pieces |= {f"{TURN_START}{role}\n" for role in ("system", "user", "assistant")} | {f"{TURN_END}\n"}
    return sorted((piece for piece in pieces if len(piece) >= 4), key=lambda piece: (-len(piece), piece))


def _pieces(prompt: Prompt) -> Iterator[str]:
    for message in prompt.messages():
        yield from (piece for piece in _HOLES.split(message["content"]) if len(piece) >= SHORTEST_PASSAGE)


def _hollow_prompts() -> Iterator[Prompt]:
    """Prompts of all the kinds that the writer answers, with holes where they differ."""
    review = {"rating": NUMBER, "title": HOLE, "text": HOLE}
    described = review | {"item_title": HOLE, "item_description": HOLE}
    difference = {"item_title": HOLE, "text": HOLE}
    sizes = range(1, LONGEST_LISTS + 1)
    for k in sizes:
        comparison = {"title": HOLE, "description": HOLE, "review": review, "representatives": [review] * k}
        yield pack().open_extraction(comparison, DIMENSIONS)
        yield pack().validation(comparison, HOLE)
    for n, n_differences in product(sizes, (0, *sizes)):
        yield pack().profile_summary([described] * n, [difference] * n_differences)
    for n, summary in product((0, *sizes), (None, HOLE)):
        yield pack().personal_review(described, [described] * n, summary)


def encode(tokenizer: Any, exchange: Exchange) -> tuple[list[int], int]:
    """The tokens of a conversation, and where the reply begins."""
    messages = exchange.prompt.messages()
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    reply_ids = tokenizer.encode(exchange.reply + TURN_END, add_special_tokens=False)
    return prompt_ids + reply_ids, len(prompt_ids)


def _texts(world: World, seed: int) -> Iterator[str]:
    """What prompts and replies hold besides the fixed passages, with and without the phrases."""
    passages = fixed_passages()
    splits = [re.compile("|".join(map(re.escape, each))) for each in (passages, passages + phrases(world.words)[::-1])]
    rng = Random(f"texts of seed {seed}")
    for _ in range(TEXTS):
        split = rng.choice(splits)
        for exchange in example(rng.randrange(10**9), seed, world):
            yield from split.split(exchange.reply)
            yield from split.split(exchange.prompt.messages()[1]["content"])
