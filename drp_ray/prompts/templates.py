"""The templates of a prompt pack: which there are, what each may name, and how one is rendered.

A pack is checked when it is loaded, by compiling every template and rendering it twice, with everything there
and with all missing that may be missing, so that a mistake in it is found before the first GPU starts.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from drp_ray.errors import BadInput
from drp_ray.prompts.control_strings import broken

_COMPARISON = ("item", "representatives", "review")

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "system": (),
    "comparison": _COMPARISON,
    "dpl_extract": (*_COMPARISON, "dimensions"),
    "drp_extract": (*_COMPARISON, "dimensions"),
    "drp_validate": (*_COMPARISON, "extracted"),
    "history": ("history",),
    "summarize": ("history", "differences"),
    "summarize_contrast": ("history", "positive", "negative"),
    "block": ("block", "summary"),
    "summarize_block": ("block", "summary"),
    "generate": ("history", "peers", "summary", "target"),
    "judge": ("labels",),
    "case": ("judged", "reference", "target"),
    "verdict": ("labels",),
    "taxonomy": ("keys",),
    "feature_key": ("keys", "feature"),
}
"""Every template of a pack and what it may name. `system`, `comparison` and `history` may name only what the
prompts that share them agree on, so that these prompts begin with the same tokens."""

RUBRIC = "judge"
"""The rubric of a judge. A pack may hold further ones, whose names begin with it: `judge_style.j2`."""

FOR_JUDGES = (RUBRIC, "case", "verdict", "taxonomy", "feature_key")
"""What only judges use. Of these a pack that lacks one has the built-in one: it need not be about judging."""

_REVIEW = {"rating": 4.0, "title": "A title", "text": "A text."}
_ITEM = {"item_title": "An item", "item_description": "A description."}
_KEY = {"name": "key", "dimension": "writing", "definition": "what it is", "more": "more", "less": "less"}
_UNTITLED = {"title": None, "item_title": None, "item_description": None}

_FULL: Mapping[str, Any] = {
    "item": _ITEM,
    "representatives": [_REVIEW, _REVIEW],
    "review": _REVIEW,
    "dimensions": ["writing", "emotion", "semantic"],
    "extracted": "Differences.",
    "history": [_REVIEW | _ITEM],
    "differences": [{"item_title": "An item", "text": "Differences."}],
    "positive": _REVIEW | _ITEM,
    "negative": _REVIEW | _ITEM,
    "block": [_REVIEW | _ITEM],
    "peers": [_REVIEW | _ITEM],
    "summary": "A summary.",
    "target": {"rating": 4.0, "title": "A title"} | _ITEM,
    "labels": [str(score) for score in range(11)],
    "reference": "A text.",
    "judged": "Another text.",
    "keys": [_KEY],
    "feature": {"name": "A name", "definition": "A definition.", "description": "A description."},
}
_THIN: Mapping[str, Any] = {
    "item": {"item_title": None, "item_description": None},
    "representatives": [_REVIEW | {"title": None}],
    "review": _REVIEW | {"title": None},
    "dimensions": [],
    "extracted": "",
    "history": [],
    "differences": [],
    "positive": _REVIEW | _UNTITLED,
    "negative": _REVIEW | _UNTITLED,
    "block": [_REVIEW | _UNTITLED],
    "peers": [],
    "summary": None,
    "target": {"rating": 4.0} | _UNTITLED,
    "labels": list("ABCDEFGHIJK"),
    "reference": "",
    "judged": "",
    "keys": [_KEY],
    "feature": {"name": "A name", "definition": "", "description": "A description."},
}


class PromptPackError(BadInput):
    """A prompt pack cannot be used; the message names the file and says what would be right."""


def read_sources(folder: Path, built_in: Path) -> dict[str, str]:
    """Read the `*.j2` files of a pack, by template name, and check them; those for judges may be the built-in ones.

    Raises:
        PromptPackError: a template is missing, unknown, not UTF-8, or would not render.
    """
    defaults = {name: built_in / f"{name}.j2" for name in FOR_JUDGES}
    files = defaults | {path.stem: path for path in sorted(folder.glob("*.j2"))}
    _check_names(folder, files)
    sources = {name: _read(path) for name, path in files.items()}
    for name, source in sources.items():
        _check(files[name], name, source)
    return sources


def variables_of(name: str) -> tuple[str, ...]:
    """What a template may name; every rubric what the first one may."""
    return VARIABLES[RUBRIC if _is_rubric(name) else name]


def _is_rubric(name: str) -> bool:
    return name.startswith(f"{RUBRIC}_")


def render(source: str, variables: Mapping[str, Any]) -> str:
    """Render one template. Values are put in as they are: template syntax inside a review stays text."""
    return _compiled(source).render(variables).strip()


def render_for_model(source: str, variables: Mapping[str, Any]) -> str:
    """Render one template, with the strings broken that mark turns and thinking, where values hold them.

    Those that the template itself holds stay (`control_strings`).
    """
    return _compiled(source, breaks_control_strings=True).render(variables).strip()


def _environment(finalize: Callable[[Any], Any] | None = None) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False, finalize=finalize
    )
    environment.filters["number"] = _number
    del environment.filters["random"]  # a prompt is a function of its row, or results could not be resumed
    return environment


def _text_of(value: Any) -> Any:
    return broken(value) if isinstance(value, str) else value


def _number(value: float) -> str:
    return f"{value:g}"


_ENVIRONMENT = _environment()
_BREAKING_ENVIRONMENT = _environment(_text_of)


@cache
def _compiled(source: str, breaks_control_strings: bool = False) -> Template:
    environment = _BREAKING_ENVIRONMENT if breaks_control_strings else _ENVIRONMENT
    return environment.from_string(source)


def _check_names(folder: Path, names: Iterable[str]) -> None:
    known = {name for name in names if not _is_rubric(name)}
    missing, unknown = sorted(VARIABLES.keys() - known), sorted(known - VARIABLES.keys())
    if missing or unknown:
        wrong = [f"{name}.j2 is missing" for name in missing] + [f"{name}.j2 is unknown" for name in unknown]
        valid = ", ".join(f"{name}.j2" for name in VARIABLES)
        raise PromptPackError(f"prompt pack {folder}: {'; '.join(wrong)}. A pack is a folder with {valid}.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PromptPackError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error


def _check(path: Path, name: str, source: str) -> None:
    valid = f"It may use: {', '.join(variables_of(name)) or 'no variables'}."
    try:
        tree = _ENVIRONMENT.parse(source)
        _compiled(source)
    except TemplateSyntaxError as error:
        raise PromptPackError(f"{path}, line {error.lineno}: {error.message}") from error
    if any(True for _ in meta.find_referenced_templates(tree)):
        raise PromptPackError(f"{path}: templates cannot include or import others. Write the text out.")
    if unknown := sorted(meta.find_undeclared_variables(tree) - set(variables_of(name))):
        raise PromptPackError(f"{path}: unknown variable {', '.join(unknown)}. {valid}")
    for values in (_FULL, _THIN):
        _try(path, source, {variable: values[variable] for variable in variables_of(name)}, valid)


def _try(path: Path, source: str, values: Mapping[str, Any], valid: str) -> None:
    try:
        render(source, values)
    except Exception as error:  # a template is its author's code: whatever it raises is about the template
        raise PromptPackError(
            f"{path}: {error}. {valid} It was tried with {dict(values)}; titles, "
            "descriptions and the summary can be None, and lists can be empty."
        ) from error
