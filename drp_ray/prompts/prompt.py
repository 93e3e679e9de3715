"""One request to a language model, and its next shorter version when it does not fit the model's context."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from drp_ray.engines.base import Message
from drp_ray.prompts.control_strings import broken
from drp_ray.prompts.templates import render, render_for_model
from drp_ray.schema import Row

RANKED = ("differences", "history", "peers", "block")
"""The lists of a prompt that can be cut. The first of two equally long ones is cut last."""

OLDEST_FIRST = ("block",)
"""Lists in time order, which lose their oldest entry; the others lose their last, the lowest-ranked."""

SHORTEST_DESCRIPTION = 100
"""Characters below which a description is left out rather than halved again."""


class Templates(NamedTuple):
    """The templates of a prompt: the system message, what neighbouring prompts share, the instruction."""

    system: str
    shared: str
    instruction: str


@dataclass(frozen=True)
class Prompt:
    """One request. It holds what it is made from, so that a shorter version can be made of it."""

    sources: Mapping[str, str] = field(repr=False)
    templates: Templates
    variables: Mapping[str, Any]
    reply: str | None = None
    """What the model has said to this, where the instruction is repeated."""

    def messages(self) -> list[Message]:
        """Render the system message, and a user message: the shared text first, the instruction last.

        What the model has said follows, and the instruction once more.
        """
        return self._rendered(render, self.reply)

    def messages_for_model(self) -> list[Message]:
        """The messages as models get them: strings that mark turns, thinking and answers are broken in all texts."""
        return self._rendered(render_for_model, None if self.reply is None else broken(self.reply))

    def _rendered(self, render: Callable[[str, Mapping[str, Any]], str], reply: str | None) -> list[Message]:
        system, shared, instruction = (render(self.sources[name], self.variables) for name in self.templates)
        user = f"{shared}\n\n{instruction}" if shared else instruction
        messages: list[Message] = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        if reply is None:
            return messages
        return [*messages, {"role": "assistant", "content": reply}, {"role": "user", "content": instruction}]

    def after(self, reply: str) -> "Prompt":
        """The same request once more, after the model has replied: only its instruction is repeated."""
        return replace(self, reply=reply)

    def shorter(self) -> "Prompt | None":
        """The next shorter version, or None when there is nothing left to give up.

        First the longest list (past reviews, others' reviews or differences) loses its last entry: the
        lowest-ranked one, or the oldest of a block in time order. One entry of each stays. Then item descriptions
        are halved, and in the end left out. Representatives always stay: they are what the comparison is made with.
        """
        variables = _without_lowest_ranked(self.variables) or _with_shorter_descriptions(self.variables)
        return replace(self, variables=variables) if variables else None


def _without_lowest_ranked(variables: Mapping[str, Any]) -> dict[str, Any] | None:
    longest = max(RANKED, key=lambda name: (len(variables.get(name, ())), RANKED.index(name)))
    entries = variables.get(longest, ())
    if len(entries) <= 1:
        return None
    return {**variables, longest: entries[1:] if longest in OLDEST_FIRST else entries[:-1]}


def _with_shorter_descriptions(variables: Mapping[str, Any]) -> dict[str, Any] | None:
    longest = max((len(row.get("item_description") or "") for row in _rows(variables)), default=0)
    if not longest:
        return None
    limit = max(longest // 2, SHORTEST_DESCRIPTION) if longest > SHORTEST_DESCRIPTION else 0
    return {name: _shortened(value, limit) for name, value in variables.items()}


def _rows(variables: Mapping[str, Any]) -> list[Row]:
    values = [value if isinstance(value, list) else [value] for value in variables.values()]
    return [row for rows in values for row in rows if isinstance(row, Mapping)]


def _shortened(value: Any, limit: int) -> Any:
    if isinstance(value, list):
        return [_shortened(row, limit) for row in value]
    if isinstance(value, Mapping) and value.get("item_description"):
        return {**value, "item_description": _cut(value["item_description"], limit)}
    return value


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return text[: limit - 1].rstrip() + "…" if limit else ""
