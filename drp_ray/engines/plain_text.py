"""Keeps users' texts from becoming a tokenizer's control tokens.

A chat template marks turns with tokens such as `<|im_end|>`. A tokenizer makes them of the same characters wherever
they stand, also in a review, which could so end its turn and open another. Here every such string in a message is
marked before the template is applied, and the rendered chat is cut at the marks and tokenized piece by piece: the
control tokens that are left are the template's. A chat without such strings is one piece, tokenized as ever.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

from drp_ray.engines.base import Message

THINKING_TAGS = ("<think>", "</think>")
"""Read in replies and at the end of prompts, whether or not they are tokens."""

_HTML = "a b big blockquote body br caption center code dd del div dl dt em font h[1-6] head hr html i img ins li ol p \
pre s small span strike strong sub sup table tbody td tfoot th thead tr tt u ul var"
_MARKUP = re.compile(rf"</?(?:{'|'.join(_HTML.split())})>", re.IGNORECASE)
_BRACKETED = re.compile(r"<.+>|\[.+\]|\{.+\}")


@dataclass(frozen=True)
class ControlStrings:
    """The strings that a tokenizer makes control tokens of.

    `pattern` finds the first character of each, also where two overlap. `normalize` is set where the tokenizer looks
    for some of them only after it has changed the text.
    """

    pattern: re.Pattern[str]
    normalize: Callable[[str], str] | None = None

    @classmethod
    def of(cls, tokenizer: Any) -> "ControlStrings":
        """Those of a tokenizer: its special tokens, what its template is made of, and other tokens in brackets.

        Markup and white space that some vocabularies hold as whole tokens are text.
        """
        template = str(getattr(tokenizer, "chat_template", None) or "")
        added = list(getattr(tokenizer, "added_tokens_decoder", {}).values())
        control = [token for token in added if token.special or _is_control(token.content, template)]
        strings = {token.content for token in control} | {*getattr(tokenizer, "all_special_tokens", ()), *THINKING_TAGS}
        normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
        if normalizer is None or not any(token.normalized for token in control):
            return cls(_starts_of(strings))
        return cls(_starts_of(strings), normalizer.normalize_str)

    def marked(self, messages: list[Message]) -> tuple[list[Message], str | None]:
        """The messages with a mark inside each control string, and the mark; None where there is no such string."""
        contents = [self._found(message["content"]) for message in messages]
        if not any(self.pattern.search(content) for content in contents):
            return messages, None
        mark = next(mark for mark in map(_mark, count()) if not any(mark in content for content in contents))
        return [
            {"role": message["role"], "content": self.pattern.sub(lambda start: start[0] + mark, content)}
            for message, content in zip(messages, contents, strict=True)
        ], mark

    def _found(self, content: str) -> str:
        """The content, in the tokenizer's own form where only that shows a control string."""
        if self.normalize is None:
            return content
        normal = self.normalize(content)
        hides_any = len(self.pattern.findall(normal)) > len(self.pattern.findall(content))
        return normal if hides_any else content


def encode_apart(tokenizer: Any, text: str, mark: str | None) -> list[int]:
    """The token ids of a rendered chat, whose pieces between the marks are tokenized each by itself."""
    pieces = [text] if mark is None else text.split(mark)
    return [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)]


def _is_control(string: str, template: str) -> bool:
    if not string.strip() or _MARKUP.fullmatch(string):
        return False
    return _BRACKETED.fullmatch(string) is not None or (string in template and not string.isalnum())


def _starts_of(strings: Iterable[str]) -> re.Pattern[str]:
    """Finds the first character of each string; by that character first, which is quick where it is rare."""
    by_start: dict[str, list[str]] = {}
    for string in sorted(strings):
        if len(string) > 1:
            by_start.setdefault(string[0], []).append(re.escape(string[1:]))
    return re.compile("|".join(f"{re.escape(start)}(?={'|'.join(rests)})" for start, rests in by_start.items()))


def _mark(number: int) -> str:
    """Private characters around a number: text that holds one of these marks does not hold all."""
    return f"\ue000{number}\ue001"
