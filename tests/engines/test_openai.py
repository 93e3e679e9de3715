"""The OpenAI engine against a real HTTP server that speaks the chat completions API."""

import asyncio
import json
import socket
import threading
import time

import pytest

from drp_ray.engines.base import (
    CallGivenUp,
    EndpointRefuses,
    EngineDied,
    ModelNotLoaded,
    ModelSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from drp_ray.engines.openai import OpenAIEngine, problem_with
from drp_ray.llm.live_engine import LiveEngine
from tests.endpoints import error, reply, served

MESSAGES = [{"role": "user", "content": "Hello"}]
SAMPLING = Sampling(temperature=0.8, top_p=0.95, max_tokens=64, seed=42)


@pytest.fixture
def server():
    with served() as server:
        yield server


def spec(server, **settings):
    settings = {"base_url": server.base_url, "api_key": "k", "timeout_s": 5.0, "max_retries": 2, **settings}
    return ModelSpec(engine="openai", id=settings.pop("id", "m"), **settings)


def ask(spec, calls=1, sampling=SAMPLING):
    """Start an engine, make some calls at once, close it; return the completions."""

    async def run():
        engine = OpenAIEngine(spec)
        await engine.start()
        try:
            return await asyncio.gather(*[engine.complete(MESSAGES, sampling) for _ in range(calls)])
        finally:
            await engine.close()

    return asyncio.run(run())


def start(spec):
    async def run():
        engine = OpenAIEngine(spec)
        try:
            await engine.start()
            return engine
        finally:
            await engine.close()

    return asyncio.run(run())


def test_a_completion_with_its_usage(server):
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    server.answers((200, reply(usage={**usage, "prompt_tokens_details": {"cached_tokens": 8}}), {}))
    [completion] = ask(spec(server))
    assert (completion.text, completion.finish_reason) == ("Hi", "stop")
    counted = (completion.prompt_tokens, completion.cached_tokens, completion.completion_tokens)
    assert counted == (9, 8, 3)


def test_what_is_sent(server):
    ask(spec(server, chat_template_kwargs={"enable_thinking": False}))
    assert server.bodies == [
        {
            "model": "m",
            "messages": MESSAGES,
            "temperature": 0.8,
            "top_p": 0.95,
            "max_tokens": 64,
            "seed": 42,
            "chat_template_kwargs": {"enable_thinking": False},
        }
    ]
    assert server.keys == {"Bearer k"}


def test_without_a_seed_none_is_sent(server):
    ask(spec(server), sampling=Sampling(temperature=0.0, top_p=1.0, max_tokens=4))
    assert "seed" not in server.bodies[0]


def test_retry_after_is_waited_for(server):
    server.answers((429, error("slow down"), {"Retry-After": "1.5"}), (200, reply(), {}))
    started = time.monotonic()
    [completion] = ask(spec(server))
    assert completion.text == "Hi"
    assert 1.5 <= time.monotonic() - started < 4


def test_server_errors_are_tried_again(server):
    server.answers((500, error("oops"), {}), (503, error("busy"), {}), (200, reply(), {}))
    assert ask(spec(server))[0].text == "Hi"
    assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_an_endpoint_that_will_not_serve_us_says_so_and_is_not_asked_again(server, status):
    server.answers((status, error("no luck today"), {}))
    with pytest.raises(EndpointRefuses, match="no luck today"):
        ask(spec(server))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota")),
        (429, error("the hard limit", "billing_hard_limit_reached")),
        (400, error("Your credit balance is too low to access the API")),
        (403, error("insufficient_user_quota")),
        (400, error("Billing hard limit has been reached", "billing_hard_limit_reached")),
        (402, error("Insufficient Balance")),
    ],
    ids=["openai", "hard-limit", "anthropic", "router", "hard-limit-400", "deepseek"],
)
def test_without_money_no_call_is_tried_again(server, status, payload):
    server.answers((status, payload, {}))
    with pytest.raises(EndpointRefuses):
        ask(spec(server))
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("review", ["The ATM said insufficient funds", "It says my credit balance is too low. Awful!"])
def test_a_refusal_that_repeats_a_review_about_money_refuses_its_request_alone(server, status, review):
    server.answers((status, error(f"Invalid input: {review!r}"), {}))
    with pytest.raises(RequestRefused, match="Invalid input"):
        ask(spec(server))


def test_an_error_of_the_server_that_repeats_a_review_about_money_is_no_refusal(server):
    server.answers((500, error("no answer to 'The ATM said insufficient funds'"), {}))
    with pytest.raises(CallGivenUp):
        ask(spec(server, max_retries=0))


def test_a_limit_of_this_minute_is_waited_out(server):
    message = "You exceeded your current quota, requests per minute"
    server.answers((429, error(message, "rate_limit_exceeded"), {}), (200, reply(), {}))
    assert ask(spec(server))[0].text == "Hi"


def test_a_request_that_a_router_flags_is_refused_alone(server):
    server.answers((403, error("Your input was flagged"), {}))
    with pytest.raises(RequestRefused, match="flagged"):
        ask(spec(server))


class TestCheck:
    def test_a_model_that_answers_costs_one_token(self, server):
        assert problem_with(spec(server)) is None
        assert [body["max_tokens"] for body in server.bodies] == [1]

    def test_it_can_be_asked_from_a_notebook_whose_thread_has_a_running_loop(self, server):
        async def cell():
            return problem_with(spec(server))

        assert asyncio.run(cell()) is None and len(server.bodies) == 1

    @pytest.mark.parametrize("status", [401, 402, 403, 404])
    def test_a_key_that_may_list_models_but_not_chat_is_found(self, server, status):
        server.answers((status, error("no luck today"), {}))
        assert "no luck today" in problem_with(spec(server))

    def test_a_request_that_is_too_small_is_no_problem(self, server):
        server.answers((400, error("max_tokens must be at least 16"), {}))
        assert problem_with(spec(server)) is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_call_that_keeps_failing_is_given_up(server, status):
    server.answers((status, error("no luck today"), {}))
    with pytest.raises(CallGivenUp, match="no luck today"):
        ask(spec(server, max_retries=1))


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (400, error("This model's maximum context length is 8192 tokens.", "context_length_exceeded")),
        (400, error("You passed 1015 input tokens. However, the model's context length is only 1024", 400)),
        (400, error("the request exceeds the available context size", 400, "exceed_context_size_error")),
        (400, error("The prompt is longer than the maximum model length of 4096")),
        (400, error("prompt too long; exceeded max context length by 4 tokens")),
        (413, error("prompt is too long: 210000 tokens > 200000 maximum")),
        (422, error("`inputs` tokens + `max_new_tokens` must be <= 4096", kind="validation")),
        (500, error("the request exceeds the available context size", 500, "exceed_context_size_error")),
    ],
    ids=["openai", "vllm", "llama.cpp", "older-vllm", "ollama", "anthropic", "tgi", "older-llama.cpp"],
)
def test_too_many_tokens_in_the_words_of_several_servers(server, status, payload):
    server.answers((status, payload, {}))
    with pytest.raises(PromptTooLong):
        ask(spec(server, max_retries=0))


def test_another_complaint_about_the_request_refuses_it_without_a_retry(server):
    server.answers((400, error("Unsupported value: 'temperature'", "unsupported_value"), {}))
    with pytest.raises(RequestRefused, match="temperature"):
        ask(spec(server))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "payload",
    [
        reply(content=None, refusal="I cannot help with that"),
        reply(content=None, finish_reason="content_filter"),
    ],
    ids=["refusal", "filter"],
)
def test_a_model_that_declines_refuses_the_request(server, payload):
    server.answers((200, payload, {}))
    with pytest.raises(RequestRefused):
        ask(spec(server))


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_that_the_server_parted_is_put_back(server, field):
    server.answers((200, reply("Answer", **{field: "Let me see"}), {}))
    assert ask(spec(server))[0].text == "<think>\nLet me see\n</think>\n\nAnswer"


def test_thinking_that_never_ended_stays_open(server):
    server.answers((200, reply(None, "length", reasoning_content="Let me see"), {}))
    [completion] = ask(spec(server))
    assert (completion.text, completion.finish_reason) == ("<think>\nLet me see", "length")


def test_models_that_want_max_completion_tokens_get_it_in_every_concurrent_call(server):
    def picky(body):
        if "max_tokens" in body:
            time.sleep(0.05)  # so that several calls are refused before the first has learnt
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, error(message, "unsupported_parameter", param="max_tokens"), {}
        return 200, reply(), {}

    server.answer = picky
    assert len(ask(spec(server, concurrency=4), calls=12)) == 12
    refused = sum("max_tokens" in body for body in server.bodies)
    assert refused <= 4
    assert server.bodies[-1]["max_completion_tokens"] == 64


def test_no_more_calls_at_once_than_concurrency(server):
    def slow(body):
        time.sleep(0.05)
        return 200, reply(), {}

    server.answer = slow
    assert len(ask(spec(server, concurrency=5), calls=40)) == 40
    assert server.most_at_once == 5


def test_a_call_that_is_too_slow_is_given_up(server):
    released = threading.Event()

    def hang(body):
        released.wait(20)
        return 200, reply(), {}

    server.answer = hang
    started = time.monotonic()
    with pytest.raises(CallGivenUp, match=r"[Tt]ime"):
        ask(spec(server, timeout_s=0.5, max_retries=1))
    released.set()
    assert time.monotonic() - started < 5
    assert len(server.bodies) == 2


def test_a_call_that_is_answered_byte_by_byte_is_given_up_in_time(server):
    server.drip_s = 0.1
    started = time.monotonic()
    with pytest.raises(CallGivenUp, match=r"no whole answer within 0\.5 s"):
        ask(spec(server, timeout_s=0.5, max_retries=1))
    assert time.monotonic() - started < 5
    assert len(server.bodies) == 2


SURROGATE = json.dumps(reply("x")).replace('"x"', '"a \\ud800 b"')
MALFORMED = {
    "half a reply": (200, json.dumps(reply())[:40], {}),
    "lone surrogate": (200, SURROGATE, {}),
    "content is an object": (200, reply({"text": "Hi"}), {}),
    "content of pictures": (200, reply([{"type": "text", "text": 1}]), {}),
    "no message": (200, {**reply(), "choices": [{"index": 0, "message": None, "finish_reason": "stop"}]}, {}),
    "no choice": (200, {**reply(), "choices": [None]}, {}),
    "empty choices": (200, {**reply(), "choices": []}, {}),
    "tokens in words": (200, reply(usage={"prompt_tokens": "many", "completion_tokens": 1, "total_tokens": 1}), {}),
    "tokens below zero": (200, reply(usage={"prompt_tokens": -1, "completion_tokens": 1, "total_tokens": 1}), {}),
    "a list": (200, "[1]", {}),
    "nothing": (200, "", {}),
    "not UTF-8": (200, b"\xff\xfe\x00", {}),
    "no gzip": (200, "xx", {"Content-Encoding": "gzip"}),
    "broken off": (200, '{"a"', {"Content-Length": "999", "Connection": "close"}),
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_reply_is_given_up_in_its_call_alone(server, answer):
    server.answers(answer)
    with pytest.raises(CallGivenUp):
        ask(spec(server, max_retries=0))


def test_content_in_parts_and_tokens_in_digits_are_read(server):
    content = [{"type": "text", "text": "Good"}, {"type": "thinking", "thinking": []}, {"type": "text", "text": " day"}]
    usage = {"prompt_tokens": "9", "completion_tokens": "3", "total_tokens": "12", "prompt_tokens_details": None}
    server.answers((200, reply(content, usage=usage), {}))
    [completion] = ask(spec(server))
    assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("Good day", 9, 3)


def test_a_reply_without_usage_counts_nothing(server):
    server.answers((200, {**reply(), "usage": None}, {}))
    assert ask(spec(server))[0].prompt_tokens == 0


def test_an_endpoint_that_goes_away_is_a_dead_engine(server):
    async def run():
        engine = OpenAIEngine(spec(server, max_retries=1))
        await engine.start()
        server.answer = lambda body: (_ for _ in ()).throw(ConnectionResetError)
        server.handle_error = lambda *_: None
        with pytest.raises(EngineDied, match="Connection error"):
            await engine.complete(MESSAGES, SAMPLING)
        await engine.close()
        await engine.close()
        with pytest.raises(EngineDied, match="not running"):
            await engine.complete(MESSAGES, SAMPLING)

    asyncio.run(run())


def test_a_call_that_waits_to_be_tried_again_when_the_engine_is_closed_sees_it_die(server):
    async def run():
        engine = OpenAIEngine(spec(server, max_retries=6))
        await engine.start()
        server.answers((503, error("busy"), {"Retry-After": "1"}))
        asked = asyncio.ensure_future(engine.complete(MESSAGES, SAMPLING))
        while not server.bodies:
            await asyncio.sleep(0.01)
        await engine.close()
        with pytest.raises(EngineDied, match="closed while it was asked"):
            await asked

    asyncio.run(run())


@pytest.mark.parametrize(("seeds", "sent"), [(True, [42]), (False, [None])])
def test_a_seed_is_sent_unless_the_model_is_to_have_none(server, seeds, sent):
    ask(spec(server, seeds=seeds))
    assert [body.get("seed") for body in server.bodies] == sent
    assert OpenAIEngine(spec(server, seeds=seeds)).honours_seed is seeds


def test_start_takes_the_context_length_where_the_endpoint_tells_it(server):
    server.models = (200, {"object": "list", "data": [{"id": "m", "max_model_len": 4096}]}, {})
    assert start(spec(server)).context_length == 4096
    assert start(spec(server, max_model_len=1000)).context_length == 1000
    assert server.bodies == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_stops_the_start(server, status):
    server.models = (status, error("Incorrect API key provided"), {})
    with pytest.raises(ModelNotLoaded, match="Incorrect API key"):
        start(spec(server))


def test_an_unknown_model_stops_the_start_and_the_known_ones_are_named(server):
    server.answers((404, error("The model `n` does not exist", "model_not_found"), {}))
    with pytest.raises(ModelNotLoaded, match=r"`n` does not exist.*it lists m"):
        start(spec(server, id="n"))


def test_a_model_that_answers_need_not_be_listed(server):
    start(spec(server, id="m:latest"))
    assert server.bodies[0]["max_tokens"] == 1


@pytest.mark.parametrize(
    "models",
    [(404, error("no such route"), {}), (200, "<html>", {"Content-Type": "text/html"}), (200, {}, {})],
    ids=["404", "html", "no-data"],
)
def test_an_endpoint_without_a_list_of_models_is_asked_for_a_token(server, models):
    server.models = models
    start(spec(server))
    assert len(server.bodies) == 1


def test_a_page_of_html_is_no_endpoint(server):
    server.models = (200, "<html>", {"Content-Type": "text/html"})
    server.answers((200, "<html>welcome</html>", {"Content-Type": "text/html"}))
    with pytest.raises(ModelNotLoaded, match="welcome"):
        start(spec(server))


def test_an_endpoint_that_is_not_there_stops_the_start():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    nowhere = ModelSpec(engine="openai", id="m", base_url=f"http://127.0.0.1:{port}/v1", max_retries=1)
    with pytest.raises(ModelNotLoaded, match="Connect"):
        start(nowhere)


def test_slow_calls_take_none_of_those_beside_them_along(server):
    """Behind a `LiveEngine`, as in a stage: 6 of 64 calls are too slow, and the others are asked once."""

    def answer(body):
        if body["messages"][0]["content"].startswith("slow"):
            time.sleep(3)
        return 200, reply(), {}

    server.answer = answer

    async def run():
        engine = LiveEngine(spec(server, timeout_s=1.5, max_retries=0, concurrency=64))
        await engine.start()
        texts = [f"slow {n}" if n < 6 else f"quick {n}" for n in range(64)]
        calls = [engine.complete([{"role": "user", "content": text}], SAMPLING) for text in texts]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await engine.close()
        return outcomes

    outcomes = asyncio.run(run())
    assert [isinstance(outcome, CallGivenUp) for outcome in outcomes] == [True] * 6 + [False] * 58
    assert all(outcome.text == "Hi" for outcome in outcomes[6:])
    assert len(server.bodies) == 64


def test_further_sampling_settings_are_sent_only_where_they_are_set(server):
    more = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 0.5, "stop": ("END",)}
    ask(spec(server), sampling=SAMPLING.model_copy(update=more))
    assert {name: server.bodies[0][name] for name in more} == {**more, "stop": ["END"]}


CHOICES = SAMPLING.model_copy(update={"choices": tuple(str(score) for score in range(11)), "max_tokens": 16})


def test_a_choice_is_asked_as_structured_output_and_read_out_of_it(server):
    server.answers((200, reply('{"answer": "8"}'), {}))
    assert ask(spec(server), sampling=CHOICES)[0].text == "8"
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == list(CHOICES.choices)
    assert "logprobs" not in server.bodies[0]


@pytest.mark.parametrize(
    "content",
    ["8", "Score: 8", '{"answer": "11"}', '{"answer": ["8"]}', '{"score": "8"}', '["8"]', '{"answer": "8"', ""],
)
def test_what_is_no_choice_in_that_form_is_left_as_it_is(server, content):
    server.answers((200, reply(content), {}))
    assert ask(spec(server), sampling=CHOICES)[0].text == content


@pytest.mark.parametrize("status", [400, 422])
def test_an_endpoint_without_structured_output_is_asked_freely_and_not_again_for_it(server, status):
    def answer(body):
        if "response_format" in body:
            return status, error("response_format of type json_schema is not supported"), {}
        return 200, reply("Score: 8"), {}

    server.answer = answer
    asked = ask(spec(server, concurrency=1), calls=3, sampling=CHOICES)
    assert [completion.text for completion in asked] == ["Score: 8"] * 3
    assert [("response_format" in body) for body in server.bodies] == [True, False, False, False]


def test_a_refusal_that_has_other_reasons_does_not_end_structured_output(server):
    def answer(body):
        if body["temperature"] != 0:
            return 400, error("temperature must be 0"), {}
        return 200, reply('{"answer": "8"}'), {}

    server.answer = answer

    async def run():
        engine = OpenAIEngine(spec(server))
        await engine.start()
        with pytest.raises(RequestRefused, match="temperature"):
            await engine.complete(MESSAGES, CHOICES)
        completion = await engine.complete(MESSAGES, CHOICES.model_copy(update={"temperature": 0.0}))
        await engine.close()
        return completion

    assert asyncio.run(run()).text == "8"
    assert "response_format" in server.bodies[-1]


def test_a_prompt_that_is_too_long_is_too_long_with_choices_too(server):
    server.answers((400, error("This model's maximum context length is 8192 tokens."), {}))
    with pytest.raises(PromptTooLong):
        ask(spec(server), sampling=CHOICES)
    assert len(server.bodies) == 1


def test_a_constrained_call_learns_the_name_of_its_limit_and_stays_constrained(server):
    def picky(body):
        if "max_tokens" in body:
            return 400, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."), {}
        return 200, reply('{"answer": "8"}'), {}

    server.answer = picky
    assert ask(spec(server), sampling=CHOICES)[0].text == "8"
    assert "response_format" in server.bodies[-1]


PROBED = SAMPLING.model_copy(update={"logprobs": 20, "max_tokens": 1})


def with_logprobs(tokens):
    answer = reply("A")
    tops = [{"token": token, "logprob": value, "bytes": None} for token, value in tokens]
    first = {"token": "A", "logprob": -0.1, "bytes": None, "top_logprobs": tops}
    answer["choices"][0]["logprobs"] = {"content": [first], "refusal": None}
    return answer


def test_the_likeliest_first_tokens_are_asked_for_and_returned(server):
    server.answers((200, with_logprobs([("A", -0.5), (" B", -1.5), ("A", -9.0)]), {}))
    assert ask(spec(server), sampling=PROBED)[0].logprobs == {"A": -0.5, " B": -1.5}
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 20)


def test_a_token_whose_alternatives_are_null_has_none(server):
    answer = with_logprobs([])
    answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = None
    server.answers((200, answer, {}))
    [completion] = ask(spec(server), sampling=PROBED)
    assert (completion.text, completion.logprobs) == ("A", None)


def test_an_endpoint_without_probabilities_has_none(server):
    def answer(body):
        return (400, error("logprobs is not supported"), {}) if "logprobs" in body else (200, reply("A"), {})

    server.answer = answer
    assert [each.logprobs for each in ask(spec(server, concurrency=1), calls=2, sampling=PROBED)] == [None, None]
    assert len(server.bodies) == 3
    server.answers((200, reply("A"), {}))
    assert ask(spec(server), sampling=PROBED)[0].logprobs is None
