"""Stand-ins that jobs reach by import path, through the same interfaces as the real engine and embedder."""

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drp_ray.config import Embedding
from drp_ray.engines.base import Completion, EngineDied, Message, ModelSpec, RequestRefused, Sampling


class ScriptedEngine:
    """Answers at once and predictably; what it should do otherwise is in the JSON file that the model's id names.

    `delay_s`: seconds a call takes. `refuse`, `kill_engine`, `kill_process`: texts; a prompt that holds one is
    refused, kills the engine, or kills the process. `replies`: answers by a text of the prompt.
    `log`: a file that gets a line for every call; `starts`: one that gets a line for every start. The script
    is read anew for every call, so a test can change it while a job runs.
    """

    concurrency = 16
    context_length = None
    honours_seed = True

    def __init__(self, spec: ModelSpec) -> None:
        self._script = Path(spec.id)
        self._is_dead = False

    async def start(self) -> None:
        script = json.loads(self._script.read_text())
        if "starts" in script:
            with Path(script["starts"]).open("a") as starts:
                starts.write(f"{os.getpid()}\n")

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        script = json.loads(self._script.read_text())
        prompt = "\n".join(message["content"] for message in messages)
        if "log" in script:
            with Path(script["log"]).open("a") as log:
                log.write(hashlib.sha256(prompt.encode()).hexdigest() + "\n")
        if any(text in prompt for text in script.get("kill_process", [])):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._is_dead or any(text in prompt for text in script.get("kill_engine", [])):
            self._is_dead = True
            raise EngineDied("told to die")
        await asyncio.sleep(script.get("delay_s", 0))
        if self._is_dead:
            raise EngineDied("died meanwhile")
        if any(text in prompt for text in script.get("refuse", [])):
            raise RequestRefused("told to refuse")
        replies = (reply for text, reply in script.get("replies", {}).items() if text in prompt)
        answer = f"{script.get('says', 'Answer')} {hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
        answer = next(replies, answer)
        return Completion(answer, "stop", len(prompt.split()), 0, 2)

    async def close(self) -> None:
        self._is_dead = True


class ScriptedJudge:
    """A judge whose answers are a function of the prompt; its id names a JSON file with its script.

    `answers`: what it says, chosen by the prompt and how often it was asked that before; `log`: a file that gets a line
    for every call, which is the model's name in the script and the prompt's digest. Every other engine's prompts, and
    those of other roles, are answered too: a script may serve a whole job. `refuse`: a prompt of those that holds one
    of these texts is refused.
    """

    concurrency = 16
    context_length = None
    honours_seed = True

    def __init__(self, spec: ModelSpec) -> None:
        self._script = Path(spec.id)

    async def start(self) -> None:
        pass

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        script = json.loads(self._script.read_text())
        prompt = "\n".join(message["content"] for message in messages)
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        with Path(script["log"]).open("a") as log:
            log.write(f"{'judge' if sampling.choices else 'writer'} {digest} {sampling.seed}\n")
        if not sampling.choices and any(text in prompt for text in script.get("refuse", [])):
            raise RequestRefused("told to refuse")
        answers = script["answers"] if sampling.choices else ["A text"]
        place = int.from_bytes(hashlib.sha256(f"{digest} {sampling.seed}".encode()).digest()[:4], "big")
        answer = answers[place % len(answers)]
        return Completion(answer, "stop", len(prompt.split()), 0, 1)

    async def close(self) -> None:
        pass


class HashEmbedder:
    """Vectors that depend on the text alone. Every text it is given leaves a line in the file `embedding.model`."""

    def __init__(self, settings: Embedding) -> None:
        self._log = Path(settings.model)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        with self._log.open("a") as log:
            log.writelines(hashlib.sha256(text.encode()).hexdigest() + "\n" for text in texts)
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=8) for seed in seeds]).astype(np.float32)
