"""The page: head, summary, list and index first, then the app, and the data blocks last, so that it is soon usable."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from drp_ray.viewer.blocks import Blocks
from drp_ray.viewer.html import Html, element
from drp_ray.viewer.index import HALVES, to_json

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("data", "elements", "marks", "search", "list", "user", "tips", "main", "keys")
"""The modules of the app, in the order in which they are joined; what one declares, the later ones may use."""

SORTS = {
    "user": "User id",
    "highest": "Highest score",
    "lowest": "Lowest score",
    "gain": "Largest gain",
    "loss": "Largest loss",
    "longest": "Longest text",
    "shortest": "Shortest text",
    "differences": "Most differences",
}
STATES = {
    "": "All rows",
    "ok": "Written",
    "failed": "Failed",
    "differences": "With failed differences",
    "simpler": "By a simpler method",
}
KEYS = {
    "j, k": "next and previous user",
    "/": "search",
    "m": "mark shared words, or not",
    "t": "light or dark",
    "Esc": "back to the summary",
    "?": "this help",
}


def write_page(file: IO[bytes], index: Mapping[str, Any], head: Html, summary: Html, blocks: Blocks) -> None:
    """Write the whole page."""
    style, script = (ASSETS / "style.css").read_text(), app()
    file.write(b"<!doctype html>\n")
    file.write(
        f'<html lang="en"><head>{_head(index["title"], style, script)}</head>\n<body data-view="rest">\n'.encode()
    )
    file.write(_body(index, head, summary).encode())
    file.write(f'\n<script type="application/json" id="index">{to_json(index)}</script>\n'.encode())
    file.write(f"<script>{script}</script>\n".encode())
    for block in blocks:
        file.write(b'<script type="text/plain" class="data">' + block + b"</script>\n")
    file.write(b"</body></html>\n")


def app() -> str:
    """The app: its modules in one scope of their own."""
    modules = "\n".join((ASSETS / f"{name}.js").read_text() for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{modules}}})();\n'


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy: this style and this script, and nothing else from anywhere."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _head(title: str, style: str, script: str) -> Html:
    return Html(
        "".join(
            [
                element("meta", charset="utf-8"),
                element("meta", http_equiv="Content-Security-Policy", content=policy(style, script)),
                element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                element("meta", name="referrer", content="no-referrer"),
                element("title", title),
                element("style", Html(style)),
            ]
        )
    )


def _body(index: Mapping[str, Any], head: Html, summary: Html) -> Html:
    return Html(
        "\n".join(
            [
                element("a", "Skip to the report", href="#main", class_="skip"),
                element("header", head, _buttons(), class_="top"),
                element("aside", _tools(index), element("div", id="list", role="list"), id="users", aria_label="Users"),
                element(
                    "main",
                    element("p", id="notice", class_="alert", role="status", hidden=True),
                    element("div", summary, id="summary"),
                    element("article", id="user", aria_labelledby="user-title", hidden=True),
                    id="main",
                    tabindex=-1,
                ),
                element("noscript", element("p", "The users of this report need JavaScript.", class_="alert")),
                _help(),
            ]
        )
    )


def _buttons() -> Html:
    tabs = [
        element("button", label, type="button", data_tab=name, aria_pressed="false", class_="narrow")
        for name, label in (("rest", "Report"), ("users", "Users"))
    ]
    others = [
        element("button", "Light or dark", type="button", id="theme"),
        element("button", "Keys", type="button", id="keys", aria_haspopup="dialog"),
    ]
    return element("div", tabs, others, class_="buttons")


def _tools(index: Mapping[str, Any]) -> Html:
    names = [run["name"] for run in index["runs"]]
    runs = {str(place): name for place, name in enumerate(names)}
    many = len(names) > 1
    sorts = {key: label for key, label in SORTS.items() if many or key not in ("gain", "loss")}
    selects = [
        _select("measure", "Score", {each["name"]: each["title"] for each in index["measures"]}),
        _select("sort", "Sort by", sorts),
        _select("of", "Run", runs) if many else None,
        _select("against", "Against", runs, "1") if many else None,
        _select("method", "Method that ran", {"": "All methods", **{name: name for name in index["methods"]}}),
        _select("state", "Rows", STATES),
        _select("half", "Uniqueness", HALVES) if "half" in index["users"] else None,
    ]
    what = "Search ids and texts" if index["has_texts"] else "Search ids"
    return element(
        "form",
        element("label", what, for_="search", class_="hidden"),
        element("input", type="search", id="search", placeholder=what, autocomplete="off", spellcheck="false"),
        element("details", element("summary", "Sort and filter"), element("div", selects, class_="selects"), open=True),
        element("p", id="count", role="status"),
        id="filters",
        role="search",
    )


def _select(name: str, label: str, options: Mapping[str, str], chosen: str = "") -> Html:
    entries = [element("option", text, value=value, selected=value == chosen) for value, text in options.items()]
    return element("label", element("span", label), element("select", entries, id=name))


def _help() -> Html:
    lines = [(element("dt", element("kbd", key)), element("dd", what)) for key, what in KEYS.items()]
    close = element("button", "Close", type="button", id="close-help")
    return element(
        "dialog",
        element("h2", "Keys", id="help-title"),
        element("dl", lines),
        close,
        id="help",
        aria_labelledby="help-title",
    )
