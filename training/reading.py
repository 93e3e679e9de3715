"""Reads the traits of a review from its text by rules, so that what a model wrote can be scored.

The rules know the phrases of the generated world. On texts of the generator they are right nearly always.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from string import Formatter
from typing import Any

from drp_ray.data.sample_words import EMBEDDED, LENGTHS, LIST_LABELS, Length, Register
from training.traits import DEFINITIONS, EXTENTS, JOINTS, NO_CLOSING, ORDERS, PLAIN_STOPS, REGISTERS, TONES, Traits
from training.worlds import MORE_ASIDES, MORE_SIGN_OFFS

SIGN_OFFS = EMBEDDED.sign_offs + MORE_SIGN_OFFS
MARKS = {": ": JOINTS[0], "; ": JOINTS[1], " (": JOINTS[3], " - ": JOINTS[7], " — ": JOINTS[8]}
"""What stands between a claim and its reason."""


def read_traits(text: str) -> Traits:
    """The value of every trait, as far as a text shows it."""
    order = _order(text)
    return {
        "Word choice": _most(text, REGISTERS, _register_phrases),
        "Tone": _most(text, TONES, lambda tone: [remark for remarks in tone.remarks.values() for remark in remarks]),
        "Punctuation": _punctuation(text, order == ORDERS["lists"]),
        "Length": _extent(text),
        "Order": order,
        "Closing": _closing(text),
    }


def named_in(summary: str) -> Traits:
    """The traits that a summary names, as the writer is taught to write it."""
    found = re.findall(rf"({'|'.join(DEFINITIONS)}): (.*?)\.(?= |$)", summary)
    return dict(reversed(found))


def _most(text: str, choices: Iterable[tuple[Any, str]], phrases_of: Callable[[Any], Iterable[str]]) -> str:
    return max(choices, key=lambda choice: _count(text, phrases_of(choice[0])))[1]


def _register_phrases(register: Register) -> list[str]:
    by_mood = (register.claims, register.verdicts)
    return [*register.openers, *register.frames, *(each for moods in by_mood for each in _flat(moods.values()))]


def _flat(lists: Iterable[Sequence[str]]) -> list[str]:
    return [each for phrases in lists for each in phrases]


def _count(text: str, templates: Iterable[str]) -> int:
    """How many of the templates occur in a text, by the longest piece of each between its slots."""
    lower = text.lower()
    return sum(piece in lower for piece in {_longest_piece(template) for template in templates} if len(piece) > 5)


@cache
def _longest_piece(template: str) -> str:
    pieces = (literal for literal, *_ in Formatter().parse(template))
    return max(pieces, key=len).strip(" ,.").lower()


def _punctuation(text: str, is_list: bool) -> str:
    is_lower, has_dots = text == text.lower(), text.count("...") > 0
    if is_lower:
        return JOINTS[10] if has_dots else JOINTS[9]
    if has_dots:
        return JOINTS[6]
    if "!" in text:
        return JOINTS[5] if "!!" in text else JOINTS[4]
    if is_list:
        return PLAIN_STOPS
    bare = re.sub(r"(?i)\b(overall|result|conclusion|baseline for comparison[^:]*):", "", text)
    mark = max(MARKS, key=bare.count)
    return MARKS[mark] if bare.count(mark) > 1 else PLAIN_STOPS


def _extent(text: str) -> str:
    """The length whose numbers of points, stories and asides are nearest."""
    clauses = [clause for kind in EMBEDDED.kinds for aspect in kind.aspects for clause in aspect.good + aspect.bad]
    stories = [story for kind in EMBEDDED.kinds for story in kind.stories]
    found = [_count(text, phrases) for phrases in (clauses, stories, EMBEDDED.asides + MORE_ASIDES)]

    def distance(length: Length) -> int:
        return sum(abs(n - m) for n, m in zip(found, (length.aspects, length.stories, length.asides), strict=True))

    return EXTENTS[min(range(len(LENGTHS)), key=lambda place: distance(LENGTHS[place]))]


def _order(text: str) -> str:
    lower = text.lower()
    if any(f"{good.lower()}: " in lower and f"{bad.lower()}: " in lower for good, bad in LIST_LABELS):
        return ORDERS["lists"]
    verdicts = [verdict for register, _ in REGISTERS for verdict in _flat(register.verdicts.values())]
    if any(lower.startswith(_longest_piece(verdict)) for verdict in verdicts):
        return ORDERS["verdict first"]
    first = re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    stories = [story for kind in EMBEDDED.kinds for story in kind.stories]
    return ORDERS["story first"] if _count(first, stories) else ORDERS["paragraph"]


def _closing(text: str) -> str:
    bare = text.rstrip(" .!").lower()
    phrase = next((phrase for phrase in SIGN_OFFS if bare.endswith(phrase.lower())), None)
    if phrase is None:
        return NO_CLOSING
    return f'"{phrase.lower() if text == text.lower() else phrase}"'
