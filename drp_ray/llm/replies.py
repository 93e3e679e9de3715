"""Read what a model wrote: set its thinking aside, remove output markers, parse differences.

Models keep to a format loosely, so all of this is tolerant, and it takes linear time on any text.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypedDict

LONGEST_NAME = 100
Thinking = Literal["auto", "always", "never"]
"""Whether replies begin with thinking: where they have its tags, always (a template opens it unseen), or never."""

_MARKUP = " \t\r\n*_#>-"
_RULE = re.compile(r"^[ \t]*(?:-{3,}+(?![^\s\[])|[*]{3,}+[ \t]*$)|(?<!\S)-{3,}+(?=[ \t]*(?:$|\[))", re.MULTILINE)
_SEPARATOR = r"[*_]{0,3}(?:[ \t]{0,3}[:\uff1a]|[ \t]{1,3}[-\u2013\u2014](?=[ \t]))"
_LABEL = re.compile(
    r"(?:(?P<definition>\b[Dd]efinition|\bDEFINITION)"
    r"|\b(?i:difference)[ \t\r\n]{1,3}(?i:description)|\bDescription|\bDESCRIPTION"
    r"|^[ \t*_#>-]{0,9}(?:description|[Dd]ifference))" + _SEPARATOR,
    re.MULTILINE,
)
_NAME_PREFIX = re.compile(r"\A(?:\(?\d{1,3}[.):][ \t*_]{0,9})?(?:\[Name\][ \t:]{0,3}|Name[ \t]{0,3}:)?", re.IGNORECASE)
_NUMBER_ALONE = re.compile(r"\n[ \t*_#-]{0,9}\(?\d{1,3}[.):][ \t*_]{0,9}\Z")
_PARAGRAPH = re.compile(
    r"^[ \t*_#>-]{0,9}(?:\(?\d{1,3}[.)][ \t*_]{0,9})?(?P<name>[^\s:*_\[\d][^:\n\d]{0,60}?)[*_]{0,3}[ \t]{0,3}[:\uff1a]",
    re.MULTILINE,
)
_CLOSING = re.compile(
    r"^[ \t#*_>-]{0,9}(?:overall|in summary|in conclusion|conclusion|summary)\b(?=[^\n]{0,9}[,:]|[ \t*_]*$)",
    re.IGNORECASE | re.MULTILINE,
)
"""Where a reply has done with the differences and sums up."""

_REJECTED = re.compile(
    r"^\W{0,9}(?:rejected|removed|discarded|excluded|not kept)\b[^\n:]{0,40}:?[ \t*_]*$", re.IGNORECASE | re.MULTILINE
)
"""The heading of what a validator did not keep."""

_NO_DIFFERENCE = re.compile(
    r"\W*(?:none|n/?a|no (?:\w+ ){0,2}differences?(?: \w+){0,3}|(?:\w+ )?the same(?: as (?:the )?others?)?"
    r"|similar to (?:the )?others?)\W*",
    re.IGNORECASE,
)
"""A description that describes no difference."""

_INTRODUCTION = r"(?:[^,;:]{0,80}[,:][ \t]*)?"
_NONE = re.compile(
    rf"\W*{_INTRODUCTION}(?:"
    r"(?:there(?:'s| is| are| were| was)\s+)?no (?:\w+ ){0,3}(?:differences?|distinguishing features?)\b[^,;:]*"
    r"|none|n/?a|none of (?:the|these|those) (?:\w+ ){0,3}differences?\b[^,;:]*"
    r"|none (?:of them )?(?:really |truly )?(?:distinguish|remain|stay|hold)\w*[^,;:]*"
    r"|all (?:of )?(?:the |these |those )?(?:\w+ ){0,2}differences? (?:fail|were rejected|are invalid)\w*[^,;:]*"
    r"|the user(?:'s (?:\w+ ){1,3})?(?:does|do) not differ\b[^,;:]*"
    r")\W*",
    re.IGNORECASE,
)
"""A sentence that says that there is no difference."""

_CONTRAST = re.compile(r"\b(?:although|though|however|but|whereas|while|kept|keep)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?\n]+(?=\s|$)")


class UnfinishedThinking(Exception):
    """The reply ends inside the model's thinking: there is no answer in it."""


class UnusableReply(Exception):
    """The reply holds no text to use; asking again may give one.

    `columns` is what the row says of the reply if it becomes an error row.
    """

    def __init__(self, message: str = "", columns: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.columns: Mapping[str, Any] = columns or {}


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


def says_none(text: str) -> bool:
    """Whether a reply without a readable difference says that there is none, as the prompt asks it to.

    Its last sentence must say just that, and no sentence may say the contrary ("although", "I kept"): text that is not
    understood is kept, not dropped.
    """
    sentences = [sentence for sentence in _SENTENCE.split(text) if sentence.strip(_MARKUP)]
    return bool(sentences) and _NONE.fullmatch(sentences[-1][-400:]) is not None and not _CONTRAST.search(text)


def parse_features(text: str) -> list[Feature]:
    """Parse blocks `--- [Name] Definition: … Difference Description: … ---` (DRP's output format).

    The labels carry the structure: a block is a `Definition:` followed by a `Difference Description:`, named
    by the brackets or the line before it, and it ends at a rule or where the next name begins. Rules can be
    missing or shared; marks of bold, lists and headings are dropped. Blocks that lack a part, that describe no
    difference, or that stand under a heading such as "Rejected:" are left out.
    """
    rejected = _REJECTED.search(text)
    text = text[: rejected.start()] if rejected else text
    blocks = _blocks(text)
    starts = [0, *(description.end() for _, description in blocks)]
    heads = [_split_head(text[start : block[0].start()]) for start, block in zip(starts, blocks, strict=False)]
    descriptions = [before for before, _ in heads[1:]] + [text[starts[-1] :]]
    features = [
        _feature(name, text[definition.end() : label.start()], description)
        for (definition, label), (_, name), description in zip(blocks, heads, descriptions, strict=False)
    ]
    return [
        feature
        for feature in features
        if all(feature.values()) and len(feature["name"]) <= LONGEST_NAME and _is_difference(feature)
    ]


def parse_paragraphs(text: str, names: Sequence[str]) -> list[Feature]:
    """Parse paragraphs that begin with a dimension's name (DPL's output format). Each name counts once.

    Args:
        text: the reply.
        names: the dimensions that were asked for, of two words each; without any, whatever stands before a paragraph's
            colon is its name, and a paragraph without one is a `Difference`.
    """
    text = _without_closing(text)
    if not names:
        paragraphs = re.split(r"\n\s*\n", text.strip())
        found = [_free_paragraph(paragraph.strip()) for paragraph in paragraphs if paragraph.strip(_MARKUP)]
        return [feature for feature in found if _is_difference(feature)]
    first: dict[str, re.Match[str]] = {}
    for label in _dimension(tuple(names)).finditer(text):
        first.setdefault(label["first"].lower(), label)
    labels = sorted(first.values(), key=lambda label: label.start())
    ends = [*(label.start() for label in labels[1:]), len(text)]
    by_word = {name.split()[0].lower(): name for name in names}
    features = [
        _feature(by_word[label["first"].lower()], "", text[label.end() : end])
        for label, end in zip(labels, ends, strict=False)
    ]
    return [feature for feature in features if feature["description"] and _is_difference(feature)]


@cache
def _dimension(names: tuple[str, ...]) -> re.Pattern[str]:
    """The start of a paragraph on a dimension: its name, whole or its first word, with marks of lists around it."""
    firsts = "|".join(re.escape(name.split()[0]) for name in names)
    return re.compile(
        rf"^[ \t*_#>•\[|-]{{0,9}}(?:\(?\d{{1,3}}[.)][ \t*_]{{0,9}})?(?P<first>{firsts})(?: style)?\]?"
        r"[*_]{0,3}(?:[ \t]{1,3}\([^)\n]{0,60}\))?[*_]{0,3}"
        r"(?:[ \t]{0,3}[:\uff1a|]|[ \t]{1,3}[-\u2013\u2014](?=[ \t])|[ \t]*$)",
        re.IGNORECASE | re.MULTILINE,
    )


def _without_closing(text: str) -> str:
    closing = _CLOSING.search(text)
    return text[: closing.start()] if closing and closing.start() else text


def _is_difference(feature: Feature) -> bool:
    return _NO_DIFFERENCE.fullmatch(feature["description"]) is None


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
    return re.compile(r"(?<=[:.!?\uff1a])[ \t]{1,3}" + _bracketed(marker), re.IGNORECASE | re.MULTILINE)


def _bracketed(marker: str) -> str:
    """The marker; only such bold marks close it as opened it, since a review may itself begin in bold."""
    return (
        rf"(?P<bold>[*_]{{0,3}})[ \t]{{0,3}}\[[ \t]{{0,3}}{re.escape(marker)}[ \t]{{0,3}}\]"
        r"[ \t]{0,3}(?:(?P=bold)[ \t]{0,3}[:\uff1a]|[:\uff1a][ \t]{0,3}(?P=bold)|[:\uff1a]|(?P=bold)[ \t]{0,3}$)"
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
    description = _without_closing(description[: end_rule.start()] if end_rule else description)
    return {
        "name": name,
        "definition": definition.strip(_MARKUP),
        "description": description.strip(_MARKUP),
    }
