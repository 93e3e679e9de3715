"""retrieved: which past reviews of a user matter for the target, by position in the profile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import Retrieval
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.running.worker import Worker
from drp_ray.stages.retrieval import retrieve
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after


@dataclass
class Retrieve(Worker):
    """Runs BM25 over each user's profile; `k` others must have reviewed an item to make it eligible."""

    catalogue: Any
    settings: Retrieval
    k: int
    schema = schema.RETRIEVED
    keys = ("user_id",)

    async def start(self, count: Callable[..., None]) -> None:
        """Map the catalogue, which all tasks of a node share."""
        self._items = Catalogue(await self.catalogue)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Users in, positions out."""
        return pa.Table.from_pylist([self._retrieve(user) for user in rows.to_pylist()], schema.RETRIEVED)

    def _retrieve(self, user: dict[str, Any]) -> dict[str, Any]:
        found = retrieve(user["profile"], user["target"], self._items, self.settings, self.k)
        return {"user_id": user["user_id"], "history": found.history, "eligible": found.eligible}


def _settings(spec: JobSpec) -> dict[str, Any]:
    return {**spec.config.retrieval.model_dump(mode="json"), "k": spec.config.selection.k}


def _make(context: StageContext) -> Retrieve:
    return Retrieve(context.catalogue(), context.config.retrieval, context.config.selection.k)


RETRIEVED = Stage("retrieved", version=1, inputs=after("users"), settings=_settings, make=_make)
