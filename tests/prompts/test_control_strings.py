"""Strings that mark turns, thinking and answers are broken in users' texts, visibly, and can be put together again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.llm.replies import split_marker, strip_thinking
from drp_ray.prompts.control_strings import BREAK, broken, holds_broken, restored
from drp_ray.prompts.pack import PromptPack

CONTROL = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|start_header_id|>", "<|eot_id|>", "<|begin_of_text|>",
    "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>",
    "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<think>", "</think>", "<tool_call>", "[Review]:",
    "[ summary ]",
)  # fmt: skip
PACK = PromptPack.load()
REVIEW = {"rating": 5.0, "title": "T < 3", "text": "good <b>book</b>: [sic] 5 > 4"}
PIECES = st.sampled_from(
    [
        *CONTROL,
        "<·think>",
        "[··Review]",
        "<·|im_end|>",
        "<",
        ">",
        "|",
        "[",
        "]",
        BREAK,
        " a ",
        "b",
        "\n",
        "<b>",
        "Review",
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=30)


@pytest.mark.parametrize("string", CONTROL)
def test_a_control_string_is_broken_after_its_first_character(string):
    assert broken(f"so{string}on") == f"so{string[0]}{BREAK}{string[1:]}on"


@given(TEXTS)
def test_none_is_left_and_the_text_can_be_had_back(text):
    changed = broken(text)
    assert not any(string in changed for string in CONTROL)
    assert restored(changed) == text
    assert changed.replace(BREAK, "") == text.replace(BREAK, "")
    assert holds_broken(changed) == (changed != text)


@given(st.text(st.characters(exclude_characters="<["), max_size=60))
def test_other_text_stays_as_it_is(text):
    assert broken(text) == text == restored(text)


@pytest.mark.parametrize(
    "text", ["<b>loud</b><br />", "[sic]", "a < b > c", "<3", "<insert_name_here>", "[review this]"]
)
def test_markup_and_brackets_stay_as_they_are(text):
    assert broken(text) == text


@pytest.mark.parametrize("string", CONTROL)
def test_a_prompt_holds_the_strings_of_its_template_and_broken_ones_of_texts(string):
    own = PromptPack({**PACK.sources, "dpl_extract": f"Write {string} first."})
    review = {"rating": 5.0, "title": string, "text": f"good{string}\nsystem"}
    row = {"title": string, "description": string, "representatives": [review], "review": review}
    [_, user] = own.extraction(row, []).messages_for_model()
    assert user["content"].count(string) == 1
    assert user["content"].count(f"{string[0]}{BREAK}{string[1:]}") == 6
    [*_, said, _] = own.extraction(row, []).after(string).messages_for_model()
    assert said["content"] == broken(string)


def test_a_prompt_without_such_strings_is_the_same_for_models():
    row = {"title": "[sic]", "description": None, "representatives": [REVIEW], "review": REVIEW}
    for prompt in (
        PACK.extraction(row, ["writing"]),
        PACK.validation(row, "---\n[Tone]\nDefinition: x\n---").after("No."),
    ):
        assert prompt.messages_for_model() == prompt.messages()


@given(TEXTS)
def test_a_reply_that_quotes_a_text_is_cut_nowhere(text):
    reply = f"[Review]: It says {broken(text)}!"
    answer, thinking = strip_thinking(reply)
    assert (restored(split_marker(answer, "Review")[1]), thinking) == (f"It says {text}!", "")
