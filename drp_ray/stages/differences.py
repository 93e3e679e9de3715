"""differences: what sets a user apart from the representatives of an item, in a model's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import Dimension
from drp_ray.llm.model_worker import ModelRow, ModelWorker
from drp_ray.llm.row_caller import RowCaller
from drp_ray.methods.base import DifferenceProgramme
from drp_ray.prompts.pack import PromptPack
from drp_ray.stages.asking import asking_arguments, asking_resources, asking_settings
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after, for_need
from drp_ray.storage.parts import Facts

Row = dict[str, Any]


@dataclass
class FindDifferences(ModelWorker):
    """Runs a method's difference programme over comparisons."""

    programme: DifferenceProgramme
    prompts: PromptPack
    dimensions: tuple[Dimension, ...]
    schema = schema.DIFFERENCES
    keys = ("user_id", "item_id")

    def rows_of(self, rows: pa.Table) -> Sequence[ModelRow]:
        """One row a comparison; comparisons without representatives make no model call."""
        return [
            ModelRow(f"{row['user_id']}\0{row['item_id']}", partial(self._find, row), _blank(row))
            for row in rows.to_pylist()
        ]

    def facts(self, rows: pa.Table) -> Facts:
        """Besides the calls: representatives, comparisons without any, and answers without a readable feature."""
        representatives = [len(row) for row in rows["representatives"].to_pylist()]
        unread = [
            text is not None and not found
            for text, found in zip(_texts(rows), rows["features"].to_pylist(), strict=True)
        ]
        return {
            **super().facts(rows),
            "representatives": sum(representatives),
            "no_representatives": representatives.count(0),
            "unparsed": sum(unread),
        }

    async def _find(self, comparison: Row, ask: RowCaller) -> Row:
        if not comparison["representatives"]:
            return {}
        found = await self.programme.differ(comparison, ask, self.prompts, self.dimensions)
        return {"extracted": found.extracted, "validated": found.validated, "features": found.features}


def _texts(rows: pa.Table) -> list[str | None]:
    return [
        validated or extracted
        for validated, extracted in zip(rows["validated"].to_pylist(), rows["extracted"].to_pylist(), strict=True)
    ]


def _blank(row: Row) -> Row:
    return {
        "user_id": row["user_id"],
        "item_id": row["item_id"],
        "rank": row["rank"],
        "title": row["title"],
        "representatives": [representative["user_id"] for representative in row["representatives"]],
        "features": [],
    }


def _programme(spec: JobSpec) -> DifferenceProgramme:
    assert spec.differences is not None, f"{spec.method.name} needs differences, and no programme finds them"
    return spec.differences


def _settings(spec: JobSpec) -> dict[str, Any]:
    dimensions = list(spec.config.differences.dimensions)
    return {**asking_settings(spec, _programme(spec)), "dimensions": dimensions}


def _make(context: StageContext) -> FindDifferences:
    programme = _programme(context.spec)
    return FindDifferences(
        **asking_arguments(context.spec, programme),
        programme=programme,
        prompts=context.spec.prompts,
        dimensions=context.config.differences.dimensions,
    )


DIFFERENCES = Stage(
    "differences",
    version=2,
    inputs=after("comparisons"),
    settings=_settings,
    resources=lambda spec: asking_resources(spec, _programme(spec)),
    make=_make,
    is_needed=for_need("differences"),
)
