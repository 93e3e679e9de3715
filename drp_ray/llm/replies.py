"""Read what a model wrote: set its thinking aside, remove output markers, parse differences.

Models keep to a format loosely, so all of this is tolerant, and it takes linear time on any text.
"""

import re
from functools import cache
from typing import TypedDict

PREAMBLE_CHARACTERS = 200
"""How far into a reply a marker is looked for: models like to say "Here is the review:" first."""

LONGEST_NAME = 100

_MARKUP = " \t\r\n*_#>-"
_RULE = re.compile(r"(?<!\S)-{3,}+(?![^\s\[])")
_LABEL = re.compile(
    r"\b(?:(?P<definition>Definition)|Difference[ \t\r\n]{1,3}[Dd]escription|Description)"
    r"[*_]{0,3}[ \t]{0,3}[:\uff1a]"
)
_NAME_PREFIX = re.compile(r"\A(?:\(?\d{1,3}[.):][ \t*_]{0,9})?(?:\[Name\][ \t:]{0,3}|Name[ \t]{0,3}:)?")
_NUMBER_ALONE = re.compile(r"\n[ \t*_#-]{0,9}\(?\d{1,3}[.):][ \t*_]{0,9}\Z")


class UnfinishedThinking(Exception):
    """The reply ends inside the model's thinking: there is no answer in it."""


class UnusableReply(Exception):
    """The reply holds no text to use; asking again may give one."""


class Feature(TypedDict):
    """One difference between a user and others (`schema.FEATURE`)."""

    name: str
    definition: str
    description: str


def strip_thinking(text: str) -> tuple[str, str]:
    """Part a reply into answer and thinking.

    All up to the *last* `</think>` is thinking, since some models open a second block; a reply without the
    tags is all answer.

    Raises:
        UnfinishedThinking: a block is opened where the answer should begin, and never closed.
    """
    thinking, _, answer = text.rpartition("</think>")
    answer = answer.strip()
    if answer.startswith("<think>"):
        raise UnfinishedThinking(f"the reply ends inside its thinking, after {len(text)} characters")
    return answer, thinking.strip().removeprefix("<think>").strip()


def strip_marker(text: str, marker: str) -> str:
    """Remove a marker such as `[Review]:` with the white space and bold marks around it.

    The marker must begin a line, within the first `PREAMBLE_CHARACTERS`; what stands before it is the model
    talking about its answer, and goes too. Anywhere else it is part of the text.
    """
    text = text.strip()
    found = _marker(marker).search(text, 0, PREAMBLE_CHARACTERS)
    if found is None:
        return text
    rest, bold = text[found.end() :].strip(), found["bold"]
    is_bold_throughout = bold and found[0].rstrip(": \t").endswith("]")
    return rest.removesuffix(bold).strip() if is_bold_throughout else rest


def usable(text: str, marker: str | None = None) -> str:
    """The text of a reply, without its marker.

    Raises:
        UnusableReply: nothing is left.
    """
    text = strip_marker(text, marker) if marker else text.strip()
    if not text:
        raise UnusableReply(f"the reply is empty{f' after [{marker}]:' if marker else ''}")
    return text


def parse_features(text: str) -> list[Feature]:
    """Parse blocks `--- [Name] Definition: … Difference Description: … ---` (DRP's output format).

    The labels carry the structure: a block is a `Definition:` followed by a `Difference Description:`, named
    by the brackets or the line before it, and it ends at a rule or where the next name begins. Rules can be
    missing or shared; marks of bold, lists and headings are dropped. Blocks that lack a part are left out.
    """
    blocks = _blocks(text)
    starts = [0, *(description.end() for _, description in blocks)]
    heads = [_split_head(text[start : block[0].start()]) for start, block in zip(starts, blocks, strict=False)]
    descriptions = [before for before, _ in heads[1:]] + [text[starts[-1] :]]
    features = [
        _feature(name, text[definition.end() : label.start()], description)
        for (definition, label), (_, name), description in zip(blocks, heads, descriptions, strict=False)
    ]
    return [feature for feature in features if all(feature.values()) and len(feature["name"]) <= LONGEST_NAME]


@cache
def _marker(marker: str) -> re.Pattern[str]:
    """The marker; only such bold marks close it as opened it, since a review may itself begin in bold."""
    before = r"^[ \t#>]{0,9}(?P<bold>[*_]{0,3})[ \t]{0,3}"
    after = r"[ \t]{0,3}(?:(?P=bold)[ \t]{0,3}[:\uff1a]|[:\uff1a]?[ \t]{0,3}(?P=bold)|[:\uff1a]?)"
    return re.compile(
        before + rf"\[[ \t]{{0,3}}{re.escape(marker)}[ \t]{{0,3}}\]" + after,
        re.IGNORECASE | re.MULTILINE,
    )


def _blocks(text: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    """The two labels of every block: a definition, and the first description after it."""
    blocks, definition = [], None
    for label in _LABEL.finditer(text):
        if label["definition"]:
            definition = label
        elif definition:
            blocks.append((definition, label))
            definition = None
    return blocks


def _split_head(head: str) -> tuple[str, str]:
    """Part the text before a definition: the description that ends there, the name that begins there."""
    start = max((rule.end() for rule in _RULE.finditer(head)), default=0)
    end = len(head.rstrip(_MARKUP + ":"))
    opening = "[" if head.endswith("]", start, end) else "\n"
    start = max(start, head.rfind(opening, start, end) + 1)
    name = _NAME_PREFIX.sub("", head[start:end].strip(_MARKUP))
    before = head[:start].removesuffix("[")
    return _NUMBER_ALONE.sub("", before), name.strip(_MARKUP + "[]:")


def _feature(name: str, definition: str, description: str) -> Feature:
    end_rule = _RULE.search(description)
    description = description[: end_rule.start()] if end_rule else description
    return {
        "name": name,
        "definition": definition.strip(_MARKUP),
        "description": description.strip(_MARKUP),
    }
