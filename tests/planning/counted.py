"""An engine whose tokens are those of a real tokenizer, for whole jobs without a model."""

import hashlib

from drp_ray.config import Model
from drp_ray.engines.base import Completion, Message, ModelSpec, Sampling
from drp_ray.planning.asked import PrefixCache
from drp_ray.planning.tokens import open_tokenizer

BLOCK = 16
SENTENCE = "what sets this writer apart is a dry tone short sentences and a verdict before the story"
WORDS = SENTENCE.split()
MEAN_WORDS = 40


class CountedWriter:
    """Writes 20 to 60 words, as the prompt's hash says, and counts with the tokenizer in the folder `id`."""

    concurrency = 8
    context_length = None
    honours_seed = True

    def __init__(self, spec: ModelSpec) -> None:
        self._tokenizer = open_tokenizer("llm", Model(**spec.model_dump(exclude_unset=True, exclude={"api_key"})))
        self._cache = PrefixCache()

    async def start(self) -> None:
        pass

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        tokens = self._tokenizer.of_chat(messages)
        text = self._answer(messages, sampling)
        written = len(self._tokenizer.of_text(text)) + 1
        return Completion(text, "stop", len(tokens), self._cache.take(tokens, BLOCK), written)

    def _answer(self, messages: list[Message], sampling: Sampling) -> str:
        digest = hashlib.sha256("".join(message["content"] for message in messages).encode()).digest()
        if sampling.choices:
            return sampling.choices[digest[0] % len(sampling.choices)]
        count = 2 * MEAN_WORDS // 4 + digest[0] % (MEAN_WORDS + 1)
        return " ".join(WORDS[(digest[1] + place) % len(WORDS)] for place in range(count))

    async def close(self) -> None:
        pass
