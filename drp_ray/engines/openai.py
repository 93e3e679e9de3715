"""Any endpoint that speaks OpenAI's chat completions: a hosted model, a vLLM or SGLang server, Ollama.

The `openai` client waits and tries again on 408, 409, 429, 5xx and broken connections, with a backoff of up
to 8 s or as `Retry-After` says. What is left after `max_retries`:

| the endpoint says | seen as |
|---|---|
| at the start: unreachable, 401, 403, or 404 for the model | ModelNotLoaded |
| too many tokens, in the words of one of several servers | PromptTooLong |
| another 4xx about the request, or a refusal instead of a reply | RequestRefused |
| still 408, 409, 429, 5xx or too slow | CallGivenUp, in this call alone |
| no completion in the reply, or a malformed one (`_Reply`) | CallGivenUp, in this call alone |
| 401 to 404, or no money left (429 `insufficient_quota` and the like), which are not tried again | EndpointRefuses |
| unreachable | EngineDied, in all calls |
"""

import asyncio
import json
import re
import sys
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import openai
from pydantic import BaseModel, Field, ValidationError, field_validator

from drp_ray.engines.base import (
    CallGivenUp,
    Completion,
    EndpointRefuses,
    EngineDied,
    Message,
    ModelNotLoaded,
    ModelSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from drp_ray.errors import without_passwords

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_CONCURRENCY = 64
CHOICE = "answer"
"""The field of the object that a reply constrained to choices is."""
CONNECT_TIMEOUT_S = 10.0

_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|context (length|window|size)|maximum model length"
    r"|max_model_len|(prompt|input) is too long|prompt too long|max_new_tokens",
    re.IGNORECASE,
)
"""The words of OpenAI; llama.cpp; vLLM, SGLang and DeepSeek; older vLLM; Anthropic; Ollama; TGI."""

_NO_MONEY = re.compile(
    r"insufficient[_ ](\w+[_ ])?(quota|balance|credits?|funds)|billing_\w*limit|credit balance is too low",
    re.IGNORECASE,
)
"""The words of OpenAI, DeepSeek, routers and Anthropic. A plain "quota exceeded" may be one of this minute (Google)."""

_NO_CREDIT = re.compile(r"credit balance is too low to access", re.IGNORECASE)
"""The words of Anthropic with status 400, the status of a request that is wrong, too."""

_FLAGGED = re.compile(r"moderation|flagged", re.IGNORECASE)
"""What a router says with 403 of one request."""

_HTTP: Any = sys.modules[openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]]
"""The HTTP library that this version of `openai` stands on: httpx, or httpx2."""

_Tokens = Annotated[int, Field(ge=0, lt=1 << 31)]

_NOT_SERVED = frozenset({401, 402, 403, 404})
_NOT_NOW = frozenset({408, 409, 429})


class _Cached(BaseModel):
    cached_tokens: _Tokens | None = None


class _Usage(BaseModel):
    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0
    prompt_tokens_details: _Cached | None = None


class _Message(BaseModel):
    """What the model said. Some servers send content as a list of parts."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _joined(cls, content: Any) -> Any:
        if isinstance(content, list) and all(isinstance(part, dict) for part in content):
            texts = [part.get("text") for part in content if part.get("type", "text") == "text"]
            return "".join(texts) if all(isinstance(text, str) for text in texts) else content
        return content


class _TopToken(BaseModel):
    token: str
    logprob: float


class _TokenLogprobs(BaseModel):
    top_logprobs: list[_TopToken] | None = None


class _Logprobs(BaseModel):
    content: list[_TokenLogprobs] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Reply(BaseModel):
    """What is read of a chat completion. Whatever does not fit is no reply."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


class _BoundedClient(openai.DefaultAsyncHttpxClient):
    """Bounds every request from its start to the last byte of its answer, where httpx bounds the wait for each byte.

    An answer that says that no money is left is marked, so that `openai` does not ask again.
    """

    def __init__(self, total_s: float) -> None:
        super().__init__()
        self._total_s = total_s

    async def send(self, request: Any, **settings: Any) -> Any:
        """See httpx."""
        try:
            async with asyncio.timeout(self._total_s):
                response = await super().send(request, **settings)
        except TimeoutError as error:
            raise _HTTP.ReadTimeout(f"no whole answer within {self._total_s:g} s", request=request) from error
        if response.status_code == 429 and _NO_MONEY.search(response.text):
            response.headers["x-should-retry"] = "false"
        return response


class OpenAIEngine:
    """Serves one model of an endpoint.

    A server of a thinking model should part thinking from content itself (vLLM: `--reasoning-parser`); here
    they are put together again as `<think>…</think>` and content. Where the server's template opens the
    thinking and the server does not part it, thinking that ran into `max_tokens` looks like an answer.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.honours_seed = spec.seeds
        self.concurrency = spec.concurrency or DEFAULT_CONCURRENCY
        self.context_length = spec.max_model_len
        self._places = asyncio.Semaphore(self.concurrency)
        self._client: openai.AsyncOpenAI | None = None
        self._limit_name = "max_tokens"
        # What the endpoint turned out not to take, and is not sent again: "choices", "logprobs".
        self._not_taken: set[str] = set()

    async def start(self) -> None:
        """Connect, and see that the endpoint knows the key and the model.

        An endpoint's list of models proves that a model is there, but not that it is missing (Ollama's short
        names, routers, endpoints without a list): what is not listed is asked for one token.

        Raises:
            ModelNotLoaded: the endpoint cannot be reached, or refuses the key or the model.
        """
        await self._connect(ask_in_any_case=False)

    async def check(self) -> None:
        """Connect, and ask for one token in any case: a key that may list models need not be one that may chat.

        Raises:
            ModelNotLoaded: as `start`, or no chat is answered.
        """
        await self._connect(ask_in_any_case=True)

    async def _connect(self, ask_in_any_case: bool) -> None:
        self._client = openai.AsyncOpenAI(
            base_url=self.spec.base_url or DEFAULT_BASE_URL,
            api_key=self.spec.api_key or "none",
            timeout=openai.Timeout(self.spec.timeout_s, connect=min(CONNECT_TIMEOUT_S, self.spec.timeout_s)),
            max_retries=self.spec.max_retries,
            http_client=_BoundedClient(self.spec.timeout_s),
        )
        try:
            listed = await self._listed_models(self._client)
            if self.spec.id in listed:
                self.context_length = self.context_length or listed[self.spec.id]
            if ask_in_any_case or self.spec.id not in listed:
                await self._try_one_token(sorted(listed))
        except ModelNotLoaded:
            await self.close()
            raise

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        """Answer one chat, waiting for one of `concurrency` places.

        Raises:
            PromptTooLong: the endpoint says so.
            RequestRefused: the endpoint refuses this request, or the model declines to answer it.
            CallGivenUp: the endpoint did not answer this call, after all retries.
            EngineDied: the endpoint cannot be reached; as `EndpointRefuses`, it will not serve us.
        """
        async with self._places:
            client = self._client
            if client is None:
                raise EngineDied(f"{self._name}: the engine is not running")
            try:
                reply = await self._create(client, messages, sampling)
            except openai.APIStatusError as error:
                raise self._explain(error) from error
            except openai.APITimeoutError as error:
                raise CallGivenUp(f"{self._name}: {_message(error)}") from error
            except openai.APIConnectionError as error:
                if _is_about_one_reply(error.__cause__):
                    raise CallGivenUp(f"{self._name}: {_message(error)}") from error
                raise EngineDied(f"{self._name}: {_message(error)}") from error
            except openai.OpenAIError as error:
                raise EngineDied(f"{self._name}: {_message(error)}") from error
            except RuntimeError as error:  # the client says so of a call that was to be tried again after `close`
                if self._client is client:
                    raise
                raise EngineDied(f"{self._name}: closed while it was asked") from error
        return self._completion(reply, sampling)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _name(self) -> str:
        return without_passwords(f"{self.spec.id} at {self.spec.base_url or DEFAULT_BASE_URL}")

    async def _listed_models(self, client: openai.AsyncOpenAI) -> dict[str, int | None]:
        """Ids of the models that the endpoint lists, with their context length where it is listed (vLLM does)."""
        try:
            page = await client.models.list()
            return {model.id: getattr(model, "max_model_len", None) for model in page.data or []}
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise ModelNotLoaded(f"{self._name}: {_message(error)}") from error
            return {}
        except openai.APIConnectionError as error:
            raise ModelNotLoaded(f"{self._name}: {_message(error)}") from error
        except (
            openai.OpenAIError,
            AttributeError,
            ValueError,
        ):  # 200 with something that is no list of models
            return {}

    async def _try_one_token(self, listed: list[str]) -> None:
        try:
            await self.complete([{"role": "user", "content": "Hi"}], Sampling(temperature=1.0, top_p=1.0, max_tokens=1))
        except (CallGivenUp, EngineDied) as error:
            known = f" (it lists {', '.join(listed[:20])})" if listed and self.spec.id not in listed else ""
            raise ModelNotLoaded(f"{error}{known}") from error
        except (PromptTooLong, RequestRefused):
            # The model is there; that it wants longer replies, say, is for the real requests to find out.
            return

    async def _create(self, client: openai.AsyncOpenAI, messages: list[Message], sampling: Sampling) -> str:
        """Send a request, and again without what the endpoint turns out not to take."""
        limit_name, extras = self._limit_name, self._extras(sampling)
        try:
            return await self._send(client, messages, sampling, limit_name, extras)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            # OpenAI's reasoning models take only `max_completion_tokens`, many servers only `max_tokens`.
            if limit_name == "max_tokens" and "max_completion_tokens" in _message(error):
                self._limit_name = "max_completion_tokens"
            elif extras and not _is_too_long(error):
                return await self._create_without(extras, client, messages, sampling)
            else:
                raise
        return await self._create(client, messages, sampling)

    async def _create_without(
        self, extras: Mapping[str, Any], client: openai.AsyncOpenAI, messages: list[Message], sampling: Sampling
    ) -> str:
        """Ask without structured output and probabilities; if that is answered, the endpoint does not take them."""
        reply = await self._send(client, messages, sampling, self._limit_name, {})
        self._not_taken |= extras.keys()
        return reply

    def _extras(self, sampling: Sampling) -> dict[str, dict[str, Any]]:
        """What not every endpoint takes, by what it is for."""
        extras: dict[str, dict[str, Any]] = {}
        if sampling.choices is not None:
            extras["choices"] = {"response_format": _one_of(sampling.choices)}
        if sampling.logprobs is not None:
            extras["logprobs"] = {"logprobs": True, "top_logprobs": sampling.logprobs}
        return {name: settings for name, settings in extras.items() if name not in self._not_taken}

    async def _send(
        self,
        client: openai.AsyncOpenAI,
        messages: list[Message],
        sampling: Sampling,
        limit_name: str,
        extras: Mapping[str, Mapping[str, Any]],
    ) -> str:
        settings: dict[str, Any] = {limit_name: sampling.max_tokens}
        for extra in extras.values():
            settings.update(extra)
        if sampling.seed is not None and self.honours_seed:
            settings["seed"] = sampling.seed
        if sampling.presence_penalty is not None:
            settings["presence_penalty"] = sampling.presence_penalty
        if sampling.stop:
            settings["stop"] = list(sampling.stop)
        # What OpenAI's own endpoint does not know, other servers (vLLM, SGLang) take beside the request.
        beside: dict[str, Any] = sampling.model_dump(
            include={"top_k", "min_p", "repetition_penalty"}, exclude_none=True
        )
        if self.spec.chat_template_kwargs:
            beside["chat_template_kwargs"] = dict(self.spec.chat_template_kwargs)
        if beside:
            settings["extra_body"] = beside
        # As it came: the client's own reading of it checks nothing, and fails on what is no JSON.
        answer = await client.chat.completions.with_raw_response.create(
            model=self.spec.id,
            messages=messages,  # type: ignore[arg-type]
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            **settings,
        )
        return answer.http_response.text

    def _explain(self, error: openai.APIStatusError) -> Exception:
        message = f"{self._name}: {_message(error)}"
        if error.status_code == 403 and _FLAGGED.search(message):
            return RequestRefused(message)
        if error.status_code in _NOT_SERVED or _says_no_money(error):
            return EndpointRefuses(message)
        if error.status_code in _NOT_NOW:
            return CallGivenUp(message)
        if _is_too_long(error):
            return PromptTooLong(message)
        return CallGivenUp(message) if error.status_code >= 500 else RequestRefused(message)

    def _completion(self, body: str, sampling: Sampling) -> Completion:
        try:
            reply = _Reply.model_validate_json(body)
        except ValidationError as error:
            # A page of HTML from a wrong base_url; a router's passing trouble, sent with status 200; half a reply.
            wrong = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, wrong["loc"]))
            raise CallGivenUp(
                f"{self._name}: no completion in the reply {body[:500]!r}: {where}{': ' if where else ''}{wrong['msg']}"
            ) from error
        choice, usage = reply.choices[0], reply.usage or _Usage()
        text, refusal = _text(choice.message, sampling.choices), choice.message.refusal
        if not text and (refusal or choice.finish_reason == "content_filter"):
            raise RequestRefused(f"{self._name}: {refusal or 'stopped by a content filter'}")
        return Completion(
            text=text,
            finish_reason=choice.finish_reason or "",
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=(usage.prompt_tokens_details or _Cached()).cached_tokens or 0,
            completion_tokens=usage.completion_tokens,
            logprobs=_first_tokens(choice.logprobs) if sampling.logprobs else None,
        )


def _is_about_one_reply(cause: BaseException | None) -> bool:
    """Whether a reply broke off, or cannot be unpacked: the endpoint is there."""
    return isinstance(cause, _HTTP.DecodingError) or "complete message body" in str(cause)


def _says_no_money(error: openai.APIStatusError) -> bool:
    """Whether no money is left.

    Where the request itself is wrong, the message may repeat a review, so the words are looked for in code and type.
    """
    if _NO_MONEY.search(f"{error.code} {error.type}"):
        return True
    if error.status_code == 400:
        return _NO_CREDIT.search(_message(error)) is not None
    return error.status_code == 429 and _NO_MONEY.search(_message(error)) is not None


def _is_too_long(error: openai.APIStatusError) -> bool:
    return _TOO_LONG.search(f"{error.code} {error.type} {_message(error)}") is not None


def _one_of(choices: tuple[str, ...]) -> dict[str, Any]:
    """A response format that OpenAI, vLLM, SGLang, llama.cpp and Ollama know: an object with one of the choices."""
    schema = {
        "type": "object",
        "properties": {CHOICE: {"type": "string", "enum": list(choices)}},
        "required": [CHOICE],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": CHOICE, "strict": True, "schema": schema}}


def _chosen(content: str, choices: tuple[str, ...]) -> str:
    """The choice in an object of that form; any other content as it is, for the reader of the reply to judge."""
    try:
        found = json.loads(content)
    except ValueError:
        return content
    chosen = found.get(CHOICE) if isinstance(found, dict) else None
    return chosen if chosen in choices else content


def _first_tokens(logprobs: _Logprobs | None) -> dict[str, float] | None:
    """The likeliest first tokens by their texts; None where the endpoint gave none."""
    tokens = logprobs.content if logprobs is not None else None
    if not tokens or not tokens[0].top_logprobs:
        return None
    return {each.token: each.logprob for each in reversed(tokens[0].top_logprobs)}


def _text(message: _Message, choices: tuple[str, ...] | None) -> str:
    """Content with the thinking that the server parted from it put back; open where no content followed."""
    content = message.content or ""
    if choices is not None:
        content = _chosen(content, choices)
    thinking = message.reasoning_content or message.reasoning
    if not thinking:
        return content
    return f"<think>\n{thinking}\n</think>\n\n{content}" if content else f"<think>\n{thinking}"


def _message(error: openai.OpenAIError) -> str:
    """The endpoint's own words, and for a broken connection what broke it."""
    cause = error.__cause__
    return f"{error} ({type(cause).__name__}: {cause})" if cause is not None else str(error)


def problem_with(spec: ModelSpec) -> str | None:
    """Why an endpoint does not serve a model, asked for one token of it; None if nothing is wrong."""

    async def check() -> None:
        engine = OpenAIEngine(spec)
        try:
            await engine.check()
        finally:
            await engine.close()

    try:
        _run(check())
    except ModelNotLoaded as error:
        return str(error)
    return None


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run something to its end, in a thread of its own where this one has a running loop already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
