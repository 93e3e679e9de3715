"""What a language model engine is to the rest of the code: messages in, a completion out, and four ways to fail."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict


class Message(TypedDict):
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Sampling:
    """How one completion is drawn. `seed` is passed on only where the engine can honour it."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None = None


@dataclass(frozen=True)
class Completion:
    """A reply and what it cost, in tokens.

    `text` is the whole reply, thinking included. Where the chat template itself opened the thinking block,
    `text` starts with the `<think>` that the template wrote, so that readers see one form.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Engine(Protocol):
    """Serves one model. Constructing is cheap; `start` loads the model."""

    concurrency: int
    """Calls worth having in flight: what the scheduler can hold, or what the endpoint allows."""

    context_length: int | None
    """Tokens that prompt and completion may fill together; None where only the endpoint knows."""

    async def start(self) -> None:
        """Load the model. Raises `ModelNotLoaded` with the engine's own message."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer one chat.

        Raises:
            PromptTooLong: prompt and `sampling.max_tokens` do not fit the context together.
            RequestRefused: the engine will not answer this request, and asking again would not help.
            EngineDied: the engine behind all calls in flight is gone; `start` may bring up a new one.
        """

    async def close(self) -> None:
        """Free what the engine holds. Safe to call twice, and on an engine that died."""


class PromptTooLong(Exception):
    """The prompt leaves no room for the reply."""


class RequestRefused(Exception):
    """The engine will not answer this one request."""


class EngineDied(Exception):
    """The engine's process or connection is gone, with every call that was in flight."""


class ModelNotLoaded(Exception):
    """The model could not be loaded; the message is the engine's own."""
