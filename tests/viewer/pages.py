"""Reads a report as the page's app does."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drp_ray.job.finished import RunGroup, open_run
from drp_ray.storage.folder import Folder
from drp_ray.viewer.document import read_document
from drp_ray.viewer.report import ReportOptions, write_report


@dataclass
class Page:
    """A report: what stands before the data, its index, and its documents by user and by item."""

    before: str
    index: dict[str, Any]
    users: dict[str, tuple[dict[str, Any], list[str]]]
    items: dict[str, tuple[dict[str, Any], list[str]]]


def group_of(*folders: Folder) -> RunGroup:
    """The runs of folders as one result."""
    runs = tuple(map(open_run, folders))
    return RunGroup(runs[0].name, runs)


def write(path: Path, folders: list[Folder], **options: Any) -> Path:
    """Write the report of runs' folders."""
    write_report([group_of(folder) for folder in folders], path, ReportOptions(**options))
    return path


def read(path: Path) -> Page:
    """Read a report."""
    before, *blocks = re.split(r'<script type="text/plain" class="data">', path.read_text())
    blocks = [block.partition("</script>")[0] for block in blocks]
    index = json.loads(re.search(r'id="index">(.*?)</script>', before, re.DOTALL).group(1))

    def documents(what: str) -> dict[str, Any]:
        places = zip(index[what]["id"], index[what]["at"], strict=True)
        return {
            each: read_document(base64.b64decode(blocks[block][start : start + length]))
            for each, (block, start, length) in places
        }

    return Page(before, index, documents("users"), documents("items"))


def resolved(value: Any, texts: list[str], field: str = "") -> Any:
    """A structure with its texts put back in."""
    from drp_ray.viewer.document import TEXT_FIELDS

    if isinstance(value, dict):
        return {name: resolved(child, texts, name) for name, child in value.items() if name != "lengths"}
    if isinstance(value, list):
        return [resolved(child, texts, field) for child in value]
    return texts[value] if field in TEXT_FIELDS and isinstance(value, int) else value


def user(page: Page, name: str) -> dict[str, Any]:
    """A user's document with its texts."""
    structure, texts = page.users[name]
    runs = structure["runs"]  # numbers of sources, by kinds that are called as texts are
    return {**resolved({**structure, "runs": None}, texts), "runs": runs}


def pieces(page: Page, name: str, run: int, kind: str) -> Any:
    """What a run has of a kind of a user."""
    found = user(page, name)
    return found["pieces"][str(found["runs"][run][kind])]
