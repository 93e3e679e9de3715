"""HTML made of elements. Whatever text is put in stays text: only `Html` is taken as it is."""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "meta", "input"})
"""Elements without content and without an end."""


class Html(str):
    """A piece of HTML that this package made."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
"""What an element may hold: HTML, text, a number, nothing, or several of these."""

Attribute = str | int | float | bool | None


def element(tag: str, /, *children: Child, **attributes: Attribute) -> Html:
    """Make an element. An underscore at the end of an attribute's name goes, one inside is a hyphen."""
    opened = f"<{tag}{''.join(_attribute(*each) for each in attributes.items())}>"
    return Html(opened if tag in VOID else f"{opened}{join(children)}</{tag}>")


def join(children: Child) -> Html:
    """Put pieces one after the other; text is escaped."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int | float):
        return Html(escape(str(children), quote=False))
    return Html("".join(join(child) for child in children))


def table(
    head: Iterable[Child], rows: Iterable[Iterable[Child]], numbers_from: int = 1, **attributes: Attribute
) -> Html:
    """A table whose rows begin with a heading; columns from `numbers_from` on are numbers. It scrolls by itself."""
    cells = [element("th", each, scope="col", class_=_kind(place, numbers_from)) for place, each in enumerate(head)]
    body = [
        element(
            "tr",
            (
                element(
                    "td" if place else "th", each, scope=None if place else "row", class_=_kind(place, numbers_from)
                )
                for place, each in enumerate(row)
            ),
        )
        for row in rows
    ]
    whole = element("table", element("thead", element("tr", cells)), element("tbody", body), **attributes)
    return element("div", whole, class_="scroll", tabindex=0)


def _kind(place: int, numbers_from: int) -> str | None:
    return "number" if place >= numbers_from else None


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
