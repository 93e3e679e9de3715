"""What is counted of a call without a model."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.engines.base import PromptTooLong, Sampling
from drp_ray.errors import BadInput
from drp_ray.planning.asked import CountingEngine, PrefixCache, Reply
from drp_ray.planning.replies import Lengths, replies_of_length
from drp_ray.planning.tokens import GuessedTokens

PROMPTS = st.lists(st.lists(st.integers(0, 2), max_size=40), min_size=1, max_size=6)


@given(PROMPTS, st.integers(1, 5))
def test_cached_tokens_are_whole_blocks_of_a_beginning_that_was_there_before(prompts, block):
    cache, seen = PrefixCache(), []
    for prompt in prompts:
        shared = max((_common(prompt, other) for other in seen), default=0)
        whole = min(shared, max(len(prompt) - 1, 0)) // block * block
        assert cache.take(prompt, block) == whole
        seen.append(prompt[: len(prompt) // block * block])
        assert cache.take(prompt, block) == max(len(prompt) - 1, 0) // block * block


def _common(one, other):
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_what_does_not_cache_caches_nothing():
    cache = PrefixCache()
    assert [cache.take([1, 2, 3], 0) for _ in range(2)] == [0, 0]


def engine(**changes):
    settings = {"role": "judge", "model": "m", "key": "u", "tokenizer": GuessedTokens(), "cache": PrefixCache()}
    settings |= {"replies": [Reply("a reply", 9)], "context_length": None, "calls": []}
    return CountingEngine(**{**settings, **changes})


def ask(engine, **sampling):
    return asyncio.run(engine.complete([{"role": "user", "content": "x" * 40}], Sampling(**sampling)))


def test_a_reply_is_no_longer_than_it_may_be():
    assert ask(engine(), max_tokens=5).completion_tokens == 5
    assert ask(engine(), max_tokens=50).completion_tokens == 9


def test_a_choice_is_one_of_the_choices_and_a_question_for_probabilities_costs_a_token():
    counting = engine()
    choice = ask(counting, choices=("8", "9"), max_tokens=16)
    assert choice.text in ("8", "9")
    assert choice.completion_tokens == 2
    assert ask(counting, logprobs=20, max_tokens=1).completion_tokens == 1
    assert [call.is_free for call in counting.calls] == [False, False]


def test_a_prompt_that_leaves_no_room_is_refused_as_the_engine_does():
    with pytest.raises(PromptTooLong):
        ask(engine(context_length=20), max_tokens=10)
    assert ask(engine(context_length=24), max_tokens=10).prompt_tokens == 14


@given(st.integers(1, 200), st.text(max_size=50))
def test_replies_of_a_stated_length_have_it(tokens, filler):
    (reply,) = replies_of_length(tokens, filler, GuessedTokens())
    assert reply.tokens == tokens
    assert reply.text


@pytest.mark.parametrize("option", ["extractor", "extractor=0", "extractor=-3", "extractor=1.5", "nobody=3"])
def test_a_length_that_is_none_is_refused(option):
    with pytest.raises(BadInput, match="--reply-tokens"):
        Lengths.parse([option], ("extractor",))
