"""retrieved: which past reviews of a user matter for the target, by position in the profile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import Retrieval
from drp_ray.inputs.catalogue import Catalogue, Item
from drp_ray.inputs.review_times import ReviewTimes, build_review_times
from drp_ray.running.worker import Worker
from drp_ray.stages.retrieval import retrieve
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after, built_on_ray


@dataclass
class Retrieve(Worker):
    """Runs BM25 over each user's profile; `k` others must have reviewed an item to make it eligible.

    With `review_times`, Ray's reference to them, only those count who wrote until the target.
    """

    catalogue: Any
    settings: Retrieval
    k: int
    review_times: Any = None
    schema = schema.RETRIEVED
    keys = ("user_id",)

    async def start(self, count: Callable[..., None]) -> None:
        """Map the catalogue, which all tasks of a node share."""
        self._items = Catalogue(await self.catalogue)
        self._times = None if self.review_times is None else ReviewTimes(await self.review_times)

    async def work(self, part: str, rows: pa.Table, earlier: pa.Table | None) -> pa.Table:
        """Users in, positions out."""
        users = rows.to_pylist()
        items = self._items.of(review["item_id"] for user in users for review in (*user["profile"], user["target"]))
        return pa.Table.from_pylist([self._retrieve(user, items) for user in users], schema.RETRIEVED)

    def _retrieve(self, user: dict[str, Any], items: dict[str, Item]) -> dict[str, Any]:
        found = retrieve(user["profile"], user["target"], items, self.settings, self.k, self._times)
        return {"user_id": user["user_id"], "history": found.history, "eligible": found.eligible}


def _settings(spec: JobSpec) -> dict[str, Any]:
    selection = spec.config.selection
    return {**spec.config.retrieval.model_dump(mode="json"), "k": selection.k, "as_of": selection.as_of}


def _make(context: StageContext) -> Retrieve:
    selection = context.config.selection
    times = None
    if selection.as_of == "target":
        times = built_on_ray(build_review_times, context.dataset)
    return Retrieve(context.catalogue(), context.config.retrieval, selection.k, times)


RETRIEVED = Stage("retrieved", version=2, inputs=after("users"), settings=_settings, make=_make, reads_dataset=True)
