"""Strings by which models and this package mark turns, thinking and answers, broken where users' texts hold them.

An endpoint applies its chat template out of sight, so a review with `<|im_end|>` might end its own turn there, and a
reply that quotes `</think>` or `[Review]:` from a review would be cut at it. A middle dot after the first character
(`<·|im_end|>`) breaks such a string where everyone sees it. It can be taken out again: text that has the dot already
gets another. Text without such strings stays as it is.
"""

import re

BREAK = "\u00b7"

_BAR_TAG = r"\|[^\s|<>]{1,64}\||[\uff5c][^\s\uff5c<>]{1,64}[\uff5c]"
_NAMED_TAG = (
    r"/?(?:think|thinking|thought|s|bos|eos|pad|unk|mask|image|im_start|im_end|repo_name|file_sep"
    r"|(?:start|end|begin)_of_[a-z_]{1,32}|(?:tool|fim|jupyter)_[a-z_]{1,32})"
)
_BRACKET = r"/?(?:inst|think|img|system_prompt|available_tools|tool_calls|tool_results|tool_content)"
_MARKER = r"[ \t]{0,3}(?:review|summary)[ \t]{0,3}"


def _pattern(dots: str) -> re.Pattern[str]:
    """Finds the first character of a control string with that many dots after it."""
    tag = rf"<(?={dots}(?i:(?:{_BAR_TAG}|{_NAMED_TAG})>|</?SYS>>))"
    return re.compile(rf"{tag}|\[(?={dots}(?i:(?:{_BRACKET}|{_MARKER})\]))")


_ANY = _pattern(f"{BREAK}*")
_BROKEN = _pattern(f"{BREAK}+")
_BROKEN_WITH_BREAK = re.compile(rf"(?:{_BROKEN.pattern}){BREAK}")


def broken(text: str) -> str:
    """The text with every control string broken."""
    return _ANY.sub(lambda start: start[0] + BREAK, text)


def restored(text: str) -> str:
    """The text that `broken` made this one of."""
    return _BROKEN_WITH_BREAK.sub(lambda start: start[0][0], text)


def holds_broken(text: str) -> bool:
    """Whether a control string in the text was broken."""
    return BREAK in text and _BROKEN.search(text) is not None
