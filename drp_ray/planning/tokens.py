"""Turns chats into tokens as the model's engine will, without the model; for endpoints without a tokenizer, a guess."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from drp_ray.config import Model
from drp_ray.engines.base import Message
from drp_ray.engines.plain_text import ControlStrings, encode_apart
from drp_ray.errors import BadInput
from drp_ray.inputs.packaged_model import locate_language_model

CHARACTERS_PER_TOKEN = 4
"""What OpenAI says of English text (https://help.openai.com/en/articles/4936856)."""

BLOCK_OF_GPU, BLOCK_OF_CPU = 16, 128
"""Tokens in a block of vLLM's prefix cache where `engine_args.block_size` does not say (vLLM 0.29)."""

LONGEST_PROMPT = 10**9
"""What fits a model is asked about elsewhere; a tokenizer would only warn."""

Tokens = Sequence[Any]
"""The tokens of a text, as values that can be compared."""


class Tokenizer(Protocol):
    """Cuts chats and texts into tokens. `about` says how; `block` is that of the engine's prefix cache, 0 for none."""

    about: str
    block: int

    def of_chat(self, messages: list[Message]) -> Tokens:
        """The tokens of a rendered chat."""

    def of_text(self, text: str) -> Tokens:
        """The tokens of a reply."""

    def first(self, text: str, count: int) -> str:
        """The beginning of a text that has `count` tokens, or the whole text."""


@dataclass
class OwnTokenizer:
    """The model's own tokenizer and chat template."""

    tokenizer: Any
    template_settings: dict[str, Any]
    block: int
    about: str = "counted with the model's own tokenizer"
    _control: ControlStrings = field(init=False)

    def __post_init__(self) -> None:
        self._control = ControlStrings.of(self.tokenizer)

    def of_chat(self, messages: list[Message]) -> Tokens:
        """The tokens that the vLLM engine makes of a chat."""
        marked, mark = self._control.marked(messages)
        text = self.tokenizer.apply_chat_template(
            marked, tokenize=False, add_generation_prompt=True, **self.template_settings
        )
        return encode_apart(self.tokenizer, text, mark)

    def of_text(self, text: str) -> Tokens:
        """The tokens of a text, no special ones added."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def first(self, text: str, count: int) -> str:
        """The beginning of a text, in whole tokens."""
        return str(self.tokenizer.decode(self.of_text(text)[:count], skip_special_tokens=True))


@dataclass
class GuessedTokens:
    """Pieces of four characters, for endpoints: how they count is their own affair, and so is what they cache."""

    about: str = (
        f"guessed: a token for every {CHARACTERS_PER_TOKEN} characters; what the endpoint caches is not counted"
    )
    block: int = 0

    def of_chat(self, messages: list[Message]) -> Tokens:
        """Pieces of all messages, and four for the frame of each, as OpenAI's format has them."""
        return [piece for message in messages for piece in ["", "", "", *self.of_text(message["content"]), ""]]

    def of_text(self, text: str) -> Tokens:
        """Pieces of a text; the last may be shorter."""
        return [text[start : start + CHARACTERS_PER_TOKEN] for start in range(0, len(text), CHARACTERS_PER_TOKEN)]

    def first(self, text: str, count: int) -> str:
        """The beginning of a text."""
        return text[: count * CHARACTERS_PER_TOKEN]


def open_tokenizer(name: str, model: Model) -> Tokenizer:
    """The tokenizer of a model: its own where it is loaded here or lies in a folder, else a guess.

    Raises:
        BadInput: the model's tokenizer cannot be loaded, or has no chat template.
    """
    is_folder = (Path(model.id) / "tokenizer_config.json").is_file()
    if model.engine != "vllm" and not is_folder:
        return GuessedTokens()
    # Imported here: it takes a second, which other commands need not pay.
    from transformers import AutoTokenizer

    place = str(model.engine_args.get("tokenizer") or locate_language_model(model.id, f"models.{name}.id"))
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False, **model.chat_template_kwargs)
        tokenizer.model_max_length = LONGEST_PROMPT
    except Exception as error:  # transformers and the hub raise what they like here
        raise BadInput(f"models.{name}: its tokenizer cannot be used: {type(error).__name__}: {error}") from error
    return OwnTokenizer(tokenizer, model.chat_template_kwargs, _block_of(model))


def _block_of(model: Model) -> int:
    """Tokens in a block of a model's prefix cache; 0 where nothing says that it has one."""
    if not model.engine_args.get("enable_prefix_caching", True):
        return 0
    default = (BLOCK_OF_GPU if model.gpus else BLOCK_OF_CPU) if model.engine == "vllm" else 0
    return int(model.engine_args.get("block_size") or default)


def context_length(model: Model) -> int | None:
    """Tokens that prompt and reply may fill together, as far as the configuration and the model's folder say."""
    if model.max_model_len is not None:
        return model.max_model_len
    if model.engine != "vllm":
        return None
    file = Path(locate_language_model(model.id, "models")) / "config.json"
    limit = json.loads(file.read_bytes()).get("max_position_embeddings") if file.is_file() else None
    return None if limit is None else int(limit)
