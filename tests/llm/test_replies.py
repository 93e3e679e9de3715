"""What models write is read tolerantly, and in linear time."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.llm.replies import (
    UnfinishedThinking,
    UnusableReply,
    parse_features,
    strip_marker,
    strip_thinking,
    usable,
)


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("Just an answer.", "Just an answer.", ""),
        ("<think>\nHm.\n</think>\n\nAn answer.\n", "An answer.", "Hm."),
        ("Hm.</think>An answer.", "An answer.", "Hm."),
        ("<think>a</think> b <think>c</think> d", "d", "a</think> b <think>c"),
        ("<think></think>", "", ""),
        ("I wrote <think> in a review.", "I wrote <think> in a review.", ""),
        ("", "", ""),
    ],
)
def test_thinking_is_set_aside(text, answer, thinking):
    assert strip_thinking(text) == (answer, thinking)


@pytest.mark.parametrize("text", ["<think>", "  \n<think> and on", "<think>a</think>\n<think>b"])
def test_thinking_that_never_ends_is_no_answer(text):
    with pytest.raises(UnfinishedThinking):
        strip_thinking(text)


@pytest.mark.parametrize(
    "reply",
    [
        "[Review]: Loved it.",
        "[Review]\nLoved it.",
        "\n  [ review ] :\n\nLoved it.\n",
        "**[Review]:** Loved it.",
        "**[Review]**: Loved it.",
        "** [Review]: ** Loved it.",
        "**[Review]: Loved it.**",
        "__[REVIEW]:__Loved it.",
        "## [Review]:\nLoved it.",
        "> [Review]\uff1a Loved it.",
        "Here is the review:\n\n[Review]: Loved it.",
        "Loved it.",
    ],
)
def test_a_marker_near_the_start_is_removed_with_what_is_around_it(reply):
    assert strip_marker(reply, "Review") == "Loved it."


@pytest.mark.parametrize(
    "text",
    [
        "I never write [Review]: anywhere.",
        "Review: not a marker.",
        "[Summary]: another marker.",
        "x" * 300 + "\n[Review]: too far in.",
    ],
)
def test_a_marker_elsewhere_is_text(text):
    assert strip_marker(text, "Review") == text


def test_a_review_that_begins_in_bold_stays_so():
    assert strip_marker("[Review]: **Great** film.", "Review") == "**Great** film."


@pytest.mark.parametrize("reply", ["", " \n ", "[Review]:", "**[Review]:**\n"])
def test_a_reply_without_text_is_unusable(reply):
    with pytest.raises(UnusableReply):
        usable(reply, "Review")


def test_the_format_as_asked_for_parses():
    text = """---
[Humour]
Definition: whether the writer jokes
Difference Description: this user jokes
in every line
---
---
[Pace]
Definition: how fast thoughts follow
Difference Description: faster than others
---"""
    assert parse_features(text) == [
        {
            "name": "Humour",
            "definition": "whether the writer jokes",
            "description": "this user jokes\nin every line",
        },
        {"name": "Pace", "definition": "how fast thoughts follow", "description": "faster than others"},
    ]


A_AND_B = [
    {"name": "A", "definition": "a1", "description": "a2"},
    {"name": "B b", "definition": "b1", "description": "b2"},
]


@pytest.mark.parametrize(
    "text",
    [
        "--- [A] Definition: a1 Difference Description: a2 --- [B b] Definition: b1 Difference Description: b2 ---",
        "---[A] Definition: a1 Difference Description: a2 ---[B b] Definition: b1 Difference Description: b2",
        "[A] Definition: a1 Difference Description: a2\n[B b] Definition: b1 Difference Description: b2",
        "---\n**[A]**\n**Definition:** a1\n**Difference Description:** a2\n---\n"
        "**[B b]**\n**Definition**: b1\n**Difference Description**: b2\n---",
        "1. [A]\n - Definition: a1\n - Difference Description: a2\n\n"
        "2. [B b]\n - Definition: b1\n - Difference Description: b2",
        "### 1. A\nDefinition: a1\nDifference description: a2\n\n### 2. B b\nDefinition: b1\nDescription: b2",
        "Here is what I found:\n\n---\n[1. A]\nDefinition: a1\nDifference Description: a2\n---\n"
        "[Name]: B b\nDefinition: b1\nDifference\nDescription: b2\n---\n\nAll of these hold.",
        "A:\nDefinition: a1\nDifference Description: a2\n\nB b:\nDefinition: b1\nDifference Description: b2",
        "[A]\r\nDefinition\uff1a a1\r\nDifference Description: a2\r\n---\r\n"
        "[B b]\r\nDefinition: b1\r\nDifference Description: b2",
    ],
)
def test_loose_forms_parse_alike(text):
    assert parse_features(text) == A_AND_B


def test_a_block_that_lacks_a_part_is_left_out_and_its_neighbours_stay():
    text = (
        "---\n[Cut]\nDefinition: no description\n---\n[A]\nDefinition: a1\nDifference Description: a2\n---\n"
        "[Empty]\nDefinition:\nDifference Description: x\n---\n"
        "Definition: nameless\nDifference Description: y"
    )
    assert parse_features(text) == A_AND_B[:1]


@pytest.mark.parametrize("text", ["", "No difference distinguishes this user.", "Definition: one", "--- [A] ---"])
def test_text_that_does_not_parse_gives_no_features(text):
    assert parse_features(text) == []


PIECES = ["[", "]", "-", "---", "*", "\n", " ", ":", "1.", "Definition:", "Description:", "a"]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_no_text_makes_reading_fail(text):
    features = parse_features(text)
    assert all(all(feature.values()) for feature in features)
    assert strip_marker(text, "Review") in text.strip()


@pytest.mark.parametrize(
    "unit",
    [
        "-", "[", "]", "*", " ", "\n", "- ", "--- ", "[a", "\n---", "\n1. ", "Definition", "Definition:",
        "Difference ", "Difference Description:", "Definition: Description: ",
        "[A] Definition: x Description: y ",
        "[A]\nDefinition: x\n", "[Review]", "**[Review] ", "<think>", "</think>", "<think></think>",
    ],
)  # fmt: skip
def test_adversarial_text_is_read_in_linear_time(unit):
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    started = time.perf_counter()
    parse_features(text)
    strip_marker(text, "Review")
    with suppress(UnfinishedThinking):
        strip_thinking(text)
    assert time.perf_counter() - started < 2
