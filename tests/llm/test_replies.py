"""What models write is read tolerantly, and in linear time."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.llm.replies import (
    UnfinishedThinking,
    parse_features,
    parse_paragraphs,
    render_features,
    says_none,
    split_marker,
    strip_thinking,
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


def test_where_thinking_is_always_there_a_reply_without_its_end_is_no_answer():
    assert strip_thinking("Hm.</think>An answer.", "always") == ("An answer.", "Hm.")
    for text in ("Hm, let me see", "", "<think>Hm"):
        with pytest.raises(UnfinishedThinking):
            strip_thinking(text, "always")


def test_where_there_is_never_thinking_its_tags_are_text():
    assert strip_thinking("<think>a</think> b", "never") == ("<think>a</think> b", "")


def test_what_stands_before_a_marker_is_parted_from_the_text():
    assert split_marker("Here it is:\n[Review]: Good.", "Review") == ("Here it is:", "Good.")
    assert split_marker("[Review]: Good. [Review]: again", "Review") == ("", "Good. [Review]: again")


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
        "Here is the review: [Review]: Loved it.",
        "Sure! **[Review]:** Loved it.",
        "x" * 300 + "\n[Review]: Loved it.",
        "Let me think.\n\nThe user likes it.\n" * 50 + "[Review]:\nLoved it.",
        "Let me think.\n\nThe user likes it.\n" * 5000 + "[Review]:\nLoved it.",
        "Loved it.",
    ],
)
def test_a_marker_near_the_start_is_removed_with_what_is_around_it(reply):
    assert split_marker(reply, "Review")[1] == "Loved it."


@pytest.mark.parametrize(
    "text",
    [
        "I never write [Review]: anywhere.",
        "Review: not a marker.",
        "[Summary]: another marker.",
        "My words.\nI said: [Review]: once.",
        "I loved it.\n[Review] of the year for me. More.",
    ],
)
def test_a_marker_elsewhere_is_text(text):
    assert split_marker(text, "Review")[1] == text


def test_a_review_that_begins_in_bold_stays_so():
    assert split_marker("[Review]: **Great** film.", "Review")[1] == "**Great** film."


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


@pytest.mark.parametrize(
    "text",
    [
        "[A]\ndefinition: a1\ndifference description: a2\n\n[B b]\nDEFINITION: b1\nDIFFERENCE DESCRIPTION: b2",
        "---\nA\nDefinition: a1\nDifference Description: a2\n---\nB b\nDefinition: b1\n"
        "Difference Description: b2\n---\n",
        "- **A**\n  - *Definition:* a1\n  - *Difference Description:* a2\n- **B b**\n"
        "  - *Definition:* b1\n  - *Difference Description:* b2",
        "```\n---\n[A]\nDefinition: a1\nDifference Description: a2\n---\n[B b]\nDefinition: b1\n"
        "Difference Description: b2\n---\n```",
    ],
)
def test_labels_in_any_case_and_forms_of_lists_parse_alike(text):
    assert parse_features(text) == A_AND_B


def test_a_dash_inside_a_description_does_not_cut_it():
    text = "---\n[A]\nDefinition: a1\nDifference Description: says it --- then stops --- and goes on\n---\n"
    [feature] = parse_features(text)
    assert feature["description"] == "says it --- then stops --- and goes on"


@pytest.mark.parametrize(
    "text",
    [
        "No difference distinguishes this user.",
        "**No difference distinguishes this user.**",
        "I checked each of them. No differences remain.",
        "None of the noted differences hold up.",
        "none",
        "No difference.",
        "After checking, no noted difference really distinguishes the user.",
        "There are no differences.",
        "There's no difference.",
        "No notable differences.",
        "There are no significant differences between the user and others.",
        "None of the differences are valid.",
        "No distinguishing features.",
        "All of the listed differences fail validation.",
        "After careful review, none of the extracted differences can be validated.",
        "The user's writing does not differ from that of the others.",
    ],
)
def test_the_answer_that_there_is_none_is_known(text):
    assert parse_features(text) == [] and says_none(text)


@pytest.mark.parametrize(
    "text", ["The user writes short sentences.", "It makes no difference to him.", "", "Nonesuch."]
)
def test_other_text_does_not_say_that_there_is_none(text):
    assert not says_none(text)


DPL_NAMES = ["Writing style", "Emotional style", "Semantic style"]


@pytest.mark.parametrize(
    "text",
    [
        "Writing style: short.\n\nEmotional style: warm.\n\nSemantic style: dense.",
        "**Writing style:** short.\n**Emotional style:** warm.\n**Semantic style:** dense.",
        "1. Writing Style: short.\n2. Emotional Style: warm.\n3. Semantic Style: dense.",
        "- WRITING STYLE: short.\n- Emotional style\uff1a warm.\n- semantic style: dense.",
        "Here is the comparison.\n\n### Writing style:\nshort.\n\n### Emotional style:\nwarm.\n\n"
        "### Semantic style:\ndense.",
        "**Writing Style**\nshort.\n\n**Emotional Style**\nwarm.\n\n**Semantic Style**\ndense.",
        "• Writing style: short.\n• Emotional style: warm.\n• Semantic style: dense.",
        "[Writing style]: short.\n[Emotional style]: warm.\n[Semantic style]: dense.",
        "Writing Style (words and sentences): short.\nEmotional Style (tone): warm.\nSemantic Style: dense.",
        "Writing: short.\nEmotional: warm.\nSemantic: dense.\n\nOverall: the user is terse.",
        "Writing style \u2014 short.\nEmotional style \u2014 warm.\nSemantic style \u2014 dense.\n\n---\n\n"
        "In summary, terse.",
    ],
)
def test_paragraphs_that_begin_with_their_dimension_parse_alike(text):
    found = parse_paragraphs(text, DPL_NAMES)
    assert [(one["name"], one["definition"], one["description"]) for one in found] == [
        ("Writing style", "", "short."), ("Emotional style", "", "warm."), ("Semantic style", "", "dense."),
    ]  # fmt: skip


def test_a_colon_inside_a_paragraph_begins_no_other():
    [found] = parse_paragraphs("Writing style: one thing: short.\nAnother: long.", DPL_NAMES[:1])
    assert found["description"] == "one thing: short.\nAnother: long."


def test_free_paragraphs_have_the_name_before_their_colon_if_there_is_one():
    found = parse_paragraphs("Humour: dry.\n\nThe user is brief.\n\n", [])
    assert [(one["name"], one["description"]) for one in found] == [
        ("Humour", "dry."), ("Difference", "The user is brief."),
    ]  # fmt: skip


@pytest.mark.parametrize("said", ["no difference.", "None.", "N/A", "the same as others.", "No notable difference"])
def test_a_dimension_without_a_difference_is_none(said):
    text = f"Writing style: {said}\n\nEmotional style: warm."
    assert [found["name"] for found in parse_paragraphs(text, DPL_NAMES)] == ["Emotional style"]
    assert parse_features(f"[A]\nDefinition: a1\nDifference Description: {said}") == []
    assert parse_paragraphs(said, []) == []


def test_what_stands_under_rejected_is_no_difference():
    kept = "[A]\nDefinition: a1\nDifference Description: a2\n"
    rejected = "[C]\nDefinition: c1\nDifference Description: c2\nReason: not supported\n"
    for heading in ("Rejected:", "**Rejected differences:**", "### Removed"):
        assert parse_features(f"Kept:\n---\n{kept}---\n{heading}\n---\n{rejected}---") == A_AND_B[:1]


def test_a_conclusion_is_no_part_of_the_last_description():
    for end in ("***\nThe others were rejected.", "### Conclusion\nThe user is terse.", "In summary, terse."):
        text = f"[A]\nDefinition: a1\nDifference Description: a2\n{end}"
        assert parse_features(text) == A_AND_B[:1]


def test_features_are_rendered_one_a_line_from_their_fields():
    undefined = {"name": "C", "definition": "", "description": "c2"}
    assert render_features([*A_AND_B, undefined]) == "- A (a1): a2\n- B b (b1): b2\n- C: c2"


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
    assert split_marker(text, "Review")[1] in text.strip()


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
    started = time.thread_time()  # a busy machine is no failure
    parse_features(text)
    parse_paragraphs(text, DPL_NAMES)
    parse_paragraphs(text, [])
    says_none(text)
    split_marker(text, "Review")[1]
    with suppress(UnfinishedThinking):
        strip_thinking(text)
    assert time.thread_time() - started < 2
