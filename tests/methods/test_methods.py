"""Methods ask the right roles in the right order, show them the right things, and always return a text.

`golden/{name}.txt` beside the prompt tests holds every message of every method for a fixed user. After an
intended change, write them again with `REGENERATE_GOLDEN=1 pytest tests/methods` and read the difference.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp_ray.llm.replies import UnusableReply, split_marker
from drp_ray.methods.base import DIFFERENCES, METHODS, UserContext, differences, method, method_or_fallback
from drp_ray.prompts.pack import PromptPack

GOLDEN = Path(__file__).parents[1] / "prompts" / "golden"
USER_ROW = json.loads((GOLDEN / "user.json").read_text())
USER = UserContext.from_row(USER_ROW)
COMPARISON = json.loads((GOLDEN / "comparison.json").read_text())
DIMENSIONS = ("writing", "emotion", "semantic")
PACK = PromptPack.load()
BLOCK = "---\n[Brevity]\nDefinition: how short\nDifference Description: shorter\n---"
ANSWERS = {
    "extractor": "[Pace]\nDefinition: how fast\nDifference Description: faster",
    "validator": BLOCK,
    "summarizer": "[Summary]: Terse.",
    "generator": "**[Review]:** Loved it.",
}


class RecordingAsk:
    """Answers by role, and remembers what it was asked."""

    def __init__(self, answers=ANSWERS):
        self.answers = answers
        self.calls = []

    async def __call__(self, role, prompt, marker=None):
        self.calls.append((role, prompt))
        prompt.messages()
        answer = split_marker(self.answers[role], marker)[1] if marker else self.answers[role].strip()
        if not answer:
            raise UnusableReply(role)
        return answer

    @property
    def roles(self):
        return [role for role, _ in self.calls]


def write(name, user=USER, ask=None):
    return asyncio.run(METHODS[name].write(user, ask or RecordingAsk(), PACK))


def differ(name, ask, comparison=COMPARISON, dimensions=DIMENSIONS):
    return asyncio.run(DIFFERENCES[name].differ(comparison, ask, PACK, dimensions))


def test_the_modules_of_the_package_are_found():
    assert {"nonperso", "rag", "intsum", "llm-trsr", "cicl", "persona-db", "dpl", "drp"} <= set(METHODS)
    assert {"dpl", "drp"} <= set(DIFFERENCES)


def test_every_method_that_needs_differences_has_a_programme_for_them():
    assert {name for name, each in METHODS.items() if each.needs == "differences"} <= set(DIFFERENCES)


@pytest.mark.parametrize(
    ("name", "roles", "summary"),
    [
        ("nonperso", ["generator"], None),
        ("rag", ["generator"], None),
        ("intsum", ["summarizer", "generator"], "Terse."),
        ("llm-trsr", ["summarizer", "summarizer", "generator"], "Terse."),
        ("cicl", ["summarizer", "generator"], "Terse."),
        ("persona-db", ["summarizer", "generator"], "Terse."),
        ("dpl", ["summarizer", "generator"], "Terse."),
        ("drp", ["summarizer", "generator"], "Terse."),
    ],
)
def test_a_method_asks_these_roles_in_this_order(name, roles, summary):
    ask = RecordingAsk()
    written = write(name, ask=ask)
    assert ask.roles == roles
    assert (written.summary, written.prediction) == (summary, "Loved it.")


@pytest.mark.parametrize(("name", "calls_a_comparison"), [("dpl", 1), ("drp", 2)])
def test_difference_methods_take_n_or_2n_calls_and_two_more(name, calls_a_comparison):
    ask, n = RecordingAsk(), 3
    for _ in range(n):
        differ(name, ask)
    write(name, ask=ask)
    assert len(ask.calls) == calls_a_comparison * n + 2


def test_dpl_extracts():
    ask = RecordingAsk()
    found = differ("dpl", ask)
    assert ask.roles == ["extractor"]
    assert (found.extracted, found.validated) == (ANSWERS["extractor"], None)


def test_a_reply_in_the_form_that_dpls_prompt_asks_for_is_parsed():
    reply = "Writing style: shorter sentences.\n\nEmotional style: warmer.\n\nSemantic style: denser."
    found = differ("dpl", RecordingAsk({**ANSWERS, "extractor": reply}))
    assert [(one["name"], one["description"]) for one in found.features] == [
        ("Writing style", "shorter sentences."), ("Emotional style", "warmer."), ("Semantic style", "denser."),
    ]  # fmt: skip
    asked_for_one = differ("dpl", RecordingAsk({**ANSWERS, "extractor": reply}), dimensions=("emotion",))
    assert [one["name"] for one in asked_for_one.features] == ["Emotional style"]


def test_drp_extracts_then_validates_what_it_extracted():
    ask = RecordingAsk()
    found = differ("drp", ask)
    assert ask.roles == ["extractor", "validator"]
    assert ANSWERS["extractor"] in ask.calls[1][1].messages()[-1]["content"]
    assert (found.extracted, found.validated) == (ANSWERS["extractor"], BLOCK)
    assert [feature["name"] for feature in found.features] == ["Brevity"]


def test_differences_that_do_not_parse_are_kept_as_text():
    found = differ("drp", RecordingAsk({**ANSWERS, "validator": "The user is just nicer."}))
    assert (found.validated, found.features) == ("The user is just nicer.", [])


@pytest.mark.parametrize("programme", [*METHODS.values(), *DIFFERENCES.values()], ids=lambda each: each.name)
def test_roles_and_templates_for_the_fingerprint_are_those_it_asks_with(programme):
    ask = RecordingAsk()
    (write if programme.name in METHODS and hasattr(programme, "write") else differ)(programme.name, ask=ask)
    assert set(programme.asks) == set(ask.roles)
    named = {name for templates in programme.asks.values() for name in templates}
    assert named == {name for _, prompt in ask.calls for name in prompt.templates}
    assert set(programme.roles) >= set(ask.roles) and set(programme.templates) >= named


@pytest.mark.parametrize("role", ["summarizer", "generator"])
def test_an_empty_reply_is_unusable(role):
    with pytest.raises(UnusableReply):
        write(
            "intsum",
            ask=RecordingAsk({**ANSWERS, role: " [Summary]:" if role == "summarizer" else "[Review]:"}),
        )


@pytest.mark.parametrize("role", ["extractor", "validator"])
def test_an_empty_difference_is_unusable(role):
    with pytest.raises(UnusableReply):
        differ("drp", RecordingAsk({**ANSWERS, role: "\n"}))


def thin(history=True, differences=True, peers=True):
    kept = {"history": history, "differences": differences, "peers": peers}
    return UserContext.from_row({**USER_ROW, **{name: None for name, keep in kept.items() if not keep}})


@pytest.mark.parametrize(
    ("configured", "user", "runs"),
    [
        ("drp", thin(), "drp"),
        ("dpl", thin(), "dpl"),
        ("drp", thin(differences=False), "intsum"),
        ("dpl", thin(differences=False), "intsum"),
        ("dpl", thin(history=False), "nonperso"),
        ("dpl", thin(history=False, differences=False), "nonperso"),
        ("intsum", thin(history=False), "nonperso"),
        ("llm-trsr", thin(history=False), "nonperso"),
        ("llm-trsr", thin(differences=False, peers=False), "llm-trsr"),
        ("cicl", thin(), "cicl"),
        ("cicl", thin(peers=False), "intsum"),
        ("cicl", thin(history=False), "nonperso"),
        ("persona-db", thin(differences=False), "persona-db"),
        ("persona-db", thin(peers=False), "intsum"),
        ("persona-db", thin(history=False), "nonperso"),
        ("rag", thin(history=False), "nonperso"),
        ("rag", thin(differences=False), "rag"),
        ("nonperso", thin(history=False, differences=False), "nonperso"),
    ],
)
def test_a_method_falls_back_to_the_next_simpler_one_that_can_run(configured, user, runs):
    assert method_or_fallback(METHODS[configured], user) is METHODS[runs]


def test_two_methods_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two Methods are named 'rag'"):
        method("rag", needs="nothing", asks={})(METHODS["rag"].write)
    with pytest.raises(ValueError, match="two DifferenceProgrammes are named 'drp'"):
        differences("drp", asks={})(DIFFERENCES["drp"].differ)


def transcript(ask):
    """Every message of every call, for people to read."""
    lines = []
    for number, (role, prompt) in enumerate(ask.calls, 1):
        for message in prompt.messages():
            lines += [f"===== call {number}, {role}, {message['role']} message =====", message["content"], ""]
    return "\n".join(lines)


def assert_golden(name, ask):
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("REGENERATE_GOLDEN"):
        path.write_text(transcript(ask), encoding="utf-8")
    assert transcript(ask) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_messages_are_the_golden_ones(name):
    ask = RecordingAsk()
    if name in DIFFERENCES:
        differ(name, ask)
    write(name, ask=ask)
    assert_golden(name, ask)


@pytest.mark.parametrize("dimensions", [("writing",), ("emotion",), ("semantic",), ("writing", "semantic"), ()])
@pytest.mark.parametrize("name", sorted(DIFFERENCES))
def test_messages_of_the_ablations_of_dimensions_are_the_golden_ones(name, dimensions):
    ask = RecordingAsk()
    differ(name, ask, dimensions=dimensions)
    assert_golden(f"{name}-{'-'.join(dimensions) or 'no-dimensions'}", ask)


def test_messages_from_raw_differences_are_the_golden_ones():
    ask = RecordingAsk()
    raw = [{**difference, "text": ANSWERS["extractor"]} for difference in USER_ROW["differences"]]
    write("drp", UserContext.from_row({**USER_ROW, "differences": raw}), ask)
    assert_golden("drp-raw", ask)


@pytest.mark.parametrize("name", ["rag", "intsum", "llm-trsr", "cicl", "persona-db", "dpl"])
def test_every_method_that_knows_the_past_reviews_shows_them_to_the_generator_alike(name):
    def shown(method):
        ask = RecordingAsk()
        write(method, ask=ask)
        return ask.calls[-1][1].messages()[-1]["content"]

    past, _, _ = shown("rag").partition("The review to be written:")
    assert past.count("Past review ") == len(USER.history)
    assert shown(name).startswith(past)


def test_llm_trsr_reads_the_profile_once_in_time_order_and_carries_the_summary_on():
    ask = RecordingAsk()
    write("llm-trsr", ask=ask)
    first, second = (prompt.variables for role, prompt in ask.calls if role == "summarizer")
    assert [*first["block"], *second["block"]] == list(USER.profile)
    assert len(first["block"]) == 8
    assert (first["summary"], second["summary"]) == (None, "Terse.")


@given(st.integers(0, 40))
def test_llm_trsr_makes_a_call_a_block_of_eight_and_one_more(size):
    ask = RecordingAsk()
    profile = [{**USER_ROW["history"][0], "timestamp": number} for number in range(size)]
    write("llm-trsr", UserContext.from_row({**USER_ROW, "profile": profile}), ask)
    assert len(ask.calls) == -(-size // 8) + 1


def test_cicl_contrasts_the_users_review_with_the_others_of_the_same_item():
    ask = RecordingAsk()
    write("cicl", ask=ask)
    variables = ask.calls[0][1].variables
    assert variables["negative"] == USER.peers[0] and variables["negative"]["user_id"] != USER.user_id
    assert variables["positive"] in USER.history
    assert variables["positive"]["item_id"] == variables["negative"]["item_id"]


def test_persona_db_summarises_as_intsum_does_and_shows_the_neighbours_reviews_to_the_generator():
    ask, intsum = RecordingAsk(), RecordingAsk()
    write("persona-db", ask=ask)
    write("intsum", ask=intsum)
    assert ask.calls[0][1].messages() == intsum.calls[0][1].messages()
    assert ask.calls[1][1].variables["peers"] == list(USER.peers)


def test_the_reference_is_never_shown():
    for name in METHODS:
        ask = RecordingAsk()
        write(name, ask=ask)
        assert USER_ROW["reference"] not in transcript(ask)


optional_text = st.none() | st.text()
item = {"item_id": st.text(), "item_title": optional_text, "item_description": optional_text}
review = {"rating": st.floats(1, 5), "title": optional_text, "timestamp": st.integers(0)}
past_review = st.fixed_dictionaries({**item, **review, "text": st.text()})
difference = st.fixed_dictionaries(
    {"rank": st.integers(0), "item_id": st.text(), "item_title": optional_text, "text": st.text()}
)
users = st.fixed_dictionaries(
    {
        "user_id": st.text(),
        "target": st.fixed_dictionaries({**item, **review}),
        "reference": st.text(),
        "history": st.none() | st.lists(past_review, max_size=3),
        "differences": st.none() | st.lists(difference, max_size=3),
    }
)
comparisons = st.fixed_dictionaries(
    {
        "title": optional_text,
        "description": optional_text,
        "review": past_review,
        "representatives": st.lists(past_review, max_size=3),
    }
)


@given(row=users, name=st.sampled_from(sorted(METHODS)))
@settings(max_examples=100, deadline=None)
def test_every_user_gets_a_text_whatever_the_data(row, name):
    user = UserContext.from_row(row)
    fitting = method_or_fallback(METHODS[name], user)
    assert write(fitting.name, user).prediction == "Loved it."


@given(comparison=comparisons, name=st.sampled_from(sorted(DIFFERENCES)))
@settings(max_examples=60, deadline=None)
def test_every_comparison_gives_differences_whatever_the_data(comparison, name):
    assert differ(name, RecordingAsk(), comparison).extracted == ANSWERS["extractor"]
