"""Read what a model wrote: set its thinking aside, remove output markers, parse differences.

Models keep to a format loosely, so all of this is tolerant, and it takes linear time on any text.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal, TypedDict

LONGEST_NAME = 100
Thinking = Literal["auto", "always", "never"]
"""Whether replies begin with thinking: where they have its tags, always (a template opens it unseen), or never."""

_MARKUP = " \t\r\n*_#>-"
_RULE = re.compile(r"^[ \t]*-{3,}+(?![^\s\[])|(?<!\S)-{3,}+(?=[ \t]*(?:$|\[))", re.MULTILINE)
_LABEL = re.compile(
    r"(?P<definition>\b[Dd]efinition|\bDEFINITION)[*_]{0,3}[ \t]{0,3}[:\uff1a]"
    r"|(?:\b(?i:difference)[ \t\r\n]{1,3}(?i:description)|\bDescription|\bDESCRIPTION|^[ \t*_#>-]{0,9}description)"
    r"[*_]{0,3}[ \t]{0,3}[:\uff1a]",
    re.MULTILINE,
)
_NAME_PREFIX = re.compile(r"\A(?:\(?\d{1,3}[.):][ \t*_]{0,9})?(?:\[Name\][ \t:]{0,3}|Name[ \t]{0,3}:)?", re.IGNORECASE)
_NUMBER_ALONE = re.compile(r"\n[ \t*_#-]{0,9}\(?\d{1,3}[.):][ \t*_]{0,9}\Z")
_NONE = re.compile(
    r"\A\W{0,9}(?:none|n/a|no differences?)\W{0,9}\Z"
    r"|\bno (?:\w+ ){0,3}differences? (?:that )?(?:\w+ ){0,2}(?:distinguish|remain|stay|left|set|found|hold)"
    r"|\bnone (?:\w+ ){0,6}(?:distinguish|remain|stay|hold)s?\b",
    re.IGNORECASE,
)
_PARAGRAPH = re.compile(
    r"^[ \t*_#>-]{0,9}(?:\(?\d{1,3}[.)][ \t*_]{0,9})?(?P<name>[^\s:*_\[][^:\n]{0,60}?)[*_]{0,3}[ \t]{0,3}[:\uff1a]",
    re.MULTILINE,
)


class UnfinishedThinking(Exception):
    """The reply ends inside the model's thinking: there is no answer in it."""


class UnusableReply(Exception):
    """The reply holds no text to use; asking again may give one."""


class Feature(TypedDict):
    """One difference between a user and others (`schema.FEATURE`). DPL's have no definition: it is empty."""

    name: str
    definition: str
    description: str


def strip_thinking(text: str, thinking: Thinking = "auto") -> tuple[str, str]:
    """Part a reply into answer and thinking.

    All up to the *last* `</think>` is thinking, since some models open a second block. Without the tags a reply is all
    answer, unless thinking is `always` there; with `never` the tags are text.

    Raises:
        UnfinishedThinking: a block is opened where the answer should begin, and never closed.
    """
    if thinking == "never":
        return text.strip(), ""
    thought, closed, answer = text.rpartition("</think>")
    answer = answer.strip()
    if answer.startswith("<think>") or (thinking == "always" and not closed):
        raise UnfinishedThinking(f"the reply ends inside its thinking, after {len(text)} characters")
    return answer, thought.strip().removeprefix("<think>").strip()


def split_marker(text: str, marker: str) -> tuple[str, str]:
    """Part a reply into what stands before a marker such as `[Review]:` and what follows it.

    White space and bold marks around the marker go. It must begin a line, or follow a colon or the end of a sentence
    in the first line ("Here is the review: [Review]: …"); what stands before it is the model talking about its answer.
    Anywhere else it is part of the text, and there is nothing before it.
    """
    text = text.strip()
    first_line = text.partition("\n")[0]
    candidates = [_line_marker(marker).search(text), _inline_marker(marker).search(first_line)]
    found = min((match for match in candidates if match), key=lambda match: match.start(), default=None)
    if found is None:
        return "", text
    rest, bold = text[found.end() :].strip(), found["bold"]
    is_bold_throughout = bold and found[0].rstrip(": \t").endswith("]")
    return text[: found.start()].strip(), rest.removesuffix(bold).strip() if is_bold_throughout else rest


def strip_marker(text: str, marker: str) -> str:
    """What follows a marker, or the whole text where there is none: see `split_marker`."""
    return split_marker(text, marker)[1]


def usable(text: str, marker: str | None = None) -> str:
    """The text of a reply, without its marker.

    Raises:
        UnusableReply: nothing is left.
    """
    text = strip_marker(text, marker) if marker else text.strip()
    if not text:
        raise UnusableReply(f"the reply is empty{f' after [{marker}]:' if marker else ''}")
    return text


def says_none(text: str) -> bool:
    """Whether a reply without a readable difference says that there is none, as the prompt asks it to."""
    return _NONE.search(text) is not None


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


def parse_paragraphs(text: str, names: Sequence[str]) -> list[Feature]:
    """Parse paragraphs that begin with a dimension's name and a colon (DPL's output format).

    Args:
        text: the reply.
        names: the dimensions that were asked for; without any, whatever stands before a paragraph's colon is its
            name, and a paragraph without one is a `Difference`.
    """
    if not names:
        return [
            _free_paragraph(paragraph) for paragraph in re.split(r"\n\s*\n", text.strip()) if paragraph.strip(_MARKUP)
        ]
    by_name = {name.lower(): name for name in names}
    labels = [found for found in _PARAGRAPH.finditer(text) if found["name"].strip().lower() in by_name]
    ends = [*(label.start() for label in labels[1:]), len(text)]
    features: list[Feature] = [
        {
            "name": by_name[label["name"].strip().lower()],
            "definition": "",
            "description": text[label.end() : end].strip(_MARKUP),
        }
        for label, end in zip(labels, ends, strict=False)
    ]
    return [feature for feature in features if feature["description"]]


def render_features(features: Sequence[Feature]) -> str:
    """Differences as a summarizer reads them, one a line."""
    lines = []
    for feature in features:
        definition = f" ({feature['definition']})" if feature["definition"] else ""
        lines.append(f"- {feature['name']}{definition}: {feature['description']}")
    return "\n".join(lines)


@cache
def _line_marker(marker: str) -> re.Pattern[str]:
    return re.compile(r"^[ \t#>]{0,9}" + _bracketed(marker), re.IGNORECASE | re.MULTILINE)


@cache
def _inline_marker(marker: str) -> re.Pattern[str]:
    return re.compile(r"(?<=[:.!?\uff1a])[ \t]{1,3}" + _bracketed(marker), re.IGNORECASE)


def _bracketed(marker: str) -> str:
    """The marker; only such bold marks close it as opened it, since a review may itself begin in bold."""
    return (
        rf"(?P<bold>[*_]{{0,3}})[ \t]{{0,3}}\[[ \t]{{0,3}}{re.escape(marker)}[ \t]{{0,3}}\]"
        r"[ \t]{0,3}(?:(?P=bold)[ \t]{0,3}[:\uff1a]|[:\uff1a]?[ \t]{0,3}(?P=bold)|[:\uff1a]?)"
    )


def _free_paragraph(paragraph: str) -> Feature:
    label = _PARAGRAPH.match(paragraph)
    description = paragraph[label.end() :].strip(_MARKUP) if label else ""
    if label is None or not description:
        return {"name": "Difference", "definition": "", "description": paragraph.strip(_MARKUP)}
    return {"name": label["name"].strip(_MARKUP), "definition": "", "description": description}


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
