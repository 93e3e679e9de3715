"""The results that the papers report, as data, and which of them a run may stand beside.

A published row stands beside a run of the same dataset, split, method, models and protocol, over all users and with the
settings that it was made with; never beside another one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from drp_ray.config import Config, Role

FILE = Path(__file__).with_name("published.yaml")

DATASET_NAMES: Mapping[str, tuple[str, ...]] = {
    "books": ("books",),
    "cds": ("cds", "cdsandvinyl", "cdsvinyl"),
    "movies": ("movies", "moviesandtv", "moviestv"),
    "yelp": ("yelp",),
}
"""What the folder of a published dataset may be called, in lower case and without other signs than letters."""

ALL_USERS = frozenset({"full"})
"""Protocols that say who is predicted for, and say all: a job may name one besides."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a paper's table. `judges` are scores by language models, divided by 10; `models` are by role."""

    paper: str
    source: str
    protocol: str
    dataset: str
    split: str
    method: str
    models: Mapping[str, str]
    metrics: Mapping[str, float]
    judges: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """The row as `metrics.json` and `sweep.json` have it."""
        return {
            **{name: getattr(self, name) for name in ("paper", "source", "protocol", "dataset", "split", "method")},
            **{name: dict(getattr(self, name)) for name in ("models", "metrics", "judges")},
        }


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """All rows, in the order of the file."""
    return tuple(_row(table, row) for table in _content()["tables"] for row in table["rows"])


@cache
def _content() -> Any:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def _row(table: Mapping[str, Any], row: Mapping[str, Any]) -> PublishedRow:
    values = dict(zip(table["columns"], map(float, row["values"]), strict=True))
    return PublishedRow(
        **{name: table[name] for name in ("paper", "source", "protocol", "split", "models")},
        dataset=row["dataset"],
        method=row["method"],
        metrics={name: value for name, value in values.items() if name not in table["judges"]},
        judges={name: value for name, value in values.items() if name in table["judges"]},
    )


def published_beside(config: Config, roles: tuple[Role, ...]) -> PublishedRow | None:
    """The row that a job's number may stand beside; `roles` are those that the job asks.

    The number is the mean over the executions of the job's protocol, of which `config` is one.
    """
    if config.protocol is None or config.users.limit is not None or config.users.sample is not None:
        return None
    if not _has_published_settings(config):
        return None
    protocol = "+".join(part for part in config.protocol.split("+") if part not in ALL_USERS)
    wanted = (*published_dataset(config.dataset), protocol, config.method)
    for row in published_rows():
        if (row.dataset, row.split, row.protocol, row.method) == wanted and _has_models(config, roles, row.models):
            return row
    return None


def published_dataset(location: str) -> tuple[str | None, str]:
    """The published dataset and the split that a folder's address names; no dataset where none is called so.

    The last folder is the split, the one above it the dataset: `…/CDs_and_Vinyl/test` is ("cds", "test").
    """
    path = PurePosixPath(location.replace("://", "/"))
    name = re.sub(r"[^a-z]", "", path.parent.name.lower())
    return next((dataset for dataset, names in DATASET_NAMES.items() if name in names), None), path.name


def _has_published_settings(config: Config) -> bool:
    settings = config.model_dump(mode="json")
    return all(_same(_setting(settings, key), value) for key, value in _content()["settings"].items())


def _setting(settings: Any, key: str) -> Any:
    for step in key.split("."):
        settings = settings[step]
    return settings


def _same(value: Any, published: Any) -> bool:
    """Equal, lists in any order."""
    return sorted(value) == sorted(published) if isinstance(published, list) else bool(value == published)


def _has_models(config: Config, roles: tuple[Role, ...], models: Mapping[str, str]) -> bool:
    """Whether every role is played by the published model; a model is known by the last part of its id."""
    return all(
        role in models and _last_part(config.models[config.model_of(role)].id) == _last_part(models[role])
        for role in roles
    )


def _last_part(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2].lower()
