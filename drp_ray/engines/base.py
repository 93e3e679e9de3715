"""What a language model engine is to the rest: messages in, a completion out, and the ways to fail."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

from pydantic import ConfigDict, Field

from drp_ray.config import Model, SamplingSettings
from drp_ray.errors import JobFailed
from drp_ray.inputs.packaged_model import whole_path


class ModelSpec(Model):
    """A model as the configuration has it, with the key of its endpoint. Every engine is constructed with one.

    `engine` is a name that `make_engine` knows. What an engine has no use for it leaves alone: `revision`,
    `tensor_parallel`, `engine_args` and `trust_remote_code` are for engines that load a model themselves;
    `base_url`, `api_key`, `timeout_s` and `max_retries` for endpoints. With `concurrency` None the engine
    chooses how many calls are worth having in flight; with `seeds` False it is sent none, as some endpoints want it.
    `devices` are the GPUs, as CUDA_VISIBLE_DEVICES names them, that the model has of those of a worker with several
    models; None where it may take any.
    """

    # An error in a specification must not print the key.
    model_config = ConfigDict(hide_input_in_errors=True)

    api_key: str | None = Field(default=None, repr=False, exclude=True)
    devices: tuple[str, ...] | None = Field(default=None, exclude=True)

    @classmethod
    def of(cls, model: Model, api_key: str | None) -> "ModelSpec":
        """Join a model and the key that its `api_key_env` names, with the whole path of a model in a folder."""
        settings = model.model_dump(exclude_unset=True)
        is_path = model.engine != "openai"  # an endpoint has names
        return cls(**settings | {"id": whole_path(model.id) if is_path else model.id}, api_key=api_key)


class Message(TypedDict):
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(SamplingSettings):
    """How one completion is drawn. `seed` is passed on only where the engine can honour it.

    `choices` are the texts that the reply may be. An engine holds the model to them where it can; one that cannot
    answers freely, so whoever asks reads the reply strictly. `logprobs` asks for so many of the likeliest first tokens.
    Of calls that wait in an engine which can choose, the one with the smallest `priority` goes first; no reply depends
    on it.
    """

    seed: int | None = None
    choices: tuple[str, ...] | None = None
    logprobs: int | None = None
    priority: int = 0

    @property
    def answers_at_once(self) -> bool:
        """Whether the reply is to begin with the answer, without thinking that a template opens."""
        return self.choices is not None or self.logprobs is not None


@dataclass(frozen=True)
class Completion:
    """A reply and what it cost, in tokens.

    `text` is the whole reply, thinking included. Where the chat template itself opened the thinking block,
    `text` starts with the `<think>` that the template wrote, so that readers see one form. `logprobs` are the natural
    logarithms of the probabilities of the likeliest first tokens, by their texts, at temperature 1 and before
    `choices`; None where they were not asked for or the engine has none.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    logprobs: Mapping[str, float] | None = None


class Engine(Protocol):
    """Serves one model. Constructing is cheap; `start` loads the model."""

    @property
    def concurrency(self) -> int:
        """Calls worth having in flight: what the scheduler can hold, or what the endpoint allows.

        This and the next two are final once `start` has returned.
        """

    @property
    def context_length(self) -> int | None:
        """Tokens that prompt and completion may fill together; None where only the endpoint knows."""

    @property
    def honours_seed(self) -> bool:
        """Whether `Sampling.seed` is passed on; where the engine cannot honour it, it is left out."""

    async def start(self) -> None:
        """Load the model. Raises `ModelNotLoaded` with the engine's own message."""

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer one chat.

        Raises:
            PromptTooLong: prompt and `sampling.max_tokens` do not fit the context together.
            RequestRefused: the engine will not answer this request, and asking again would not help.
            CallGivenUp: this call was not answered; it may be asked again, and calls beside it go on.
            EngineDied: the engine behind all calls in flight is gone; a new one may be started.
            EndpointRefuses: it will not serve us, whatever is asked.
        """

    async def close(self) -> None:
        """Free what the engine holds. Safe to call twice, and on an engine that died."""


class PromptTooLong(Exception):
    """The prompt leaves no room for the reply."""


class RequestRefused(Exception):
    """The engine will not answer this one request."""


class CallGivenUp(Exception):
    """The endpoint did not answer this one call, however often it was asked; other calls may go on."""


class EngineDied(Exception):
    """The engine's process or connection is gone, with every call that was in flight."""


class EndpointRefuses(EngineDied):
    """The endpoint will not serve us (key, money, model): neither asking again nor a new connection helps."""


class ModelNotLoaded(JobFailed):
    """The model could not be loaded; the message is the engine's own."""
