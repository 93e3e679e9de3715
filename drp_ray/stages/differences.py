"""differences: what sets a user apart from the representatives of an item, in a model's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import Dimension
from drp_ray.llm.model_worker import ModelRow, ModelWorker, call_facts
from drp_ray.llm.replies import parse_features, render_features, says_none
from drp_ray.llm.row_caller import RowCaller
from drp_ray.methods.base import DifferenceProgramme
from drp_ray.prompts.pack import PromptPack
from drp_ray.schema import Row
from drp_ray.stages.asking import asking_arguments, asking_resources, asking_settings, memory_of
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after, for_need
from drp_ray.storage.parts import Facts

VERSION = 3
"""The stage's version."""

Source = Literal["validated", "raw"]
"""Which of DRP's differences the summarizer reads."""


def difference_facts(rows: pa.Table) -> Facts:
    """Besides the calls: representatives, and what became of the comparisons."""
    representatives = [len(row) for row in rows["representatives"].to_pylist()]
    outcomes = [found.outcome for found in found_differences(rows, "validated")]
    return {
        **call_facts(rows),
        "representatives": sum(representatives),
        "no_representatives": representatives.count(0),
        "no_difference": outcomes.count("none"),
        "unparsed": outcomes.count("unparsed"),
    }


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
            ModelRow(
                f"{row['user_id']}\0{row['item_id']}",
                partial(self._find, row),
                _blank(row),
                _content(row, self.programme),
                labels=("rank",),
            )
            for row in rows.to_pylist()
        ]

    def facts(self, rows: pa.Table) -> Facts:
        """Besides the calls: representatives, and what became of the comparisons."""
        return {**super().facts(rows), **difference_facts(rows)}

    async def _find(self, comparison: Row, ask: RowCaller) -> Row:
        if not comparison["representatives"]:
            return {}
        found = await self.programme.differ(comparison, ask, self.prompts, self.dimensions)
        return {"extracted": found.extracted, "validated": found.validated, "features": found.features}


class Found(NamedTuple):
    """What a comparison found, for the summarizer: no text where it found nothing."""

    outcome: Literal["found", "unparsed", "none", "failed", "not compared"]
    text: str | None


def found_differences(rows: pa.Table, source: Source) -> list[Found]:
    """What the summarizer reads of every row of `schema.DIFFERENCES`: its features, rendered from their fields.

    A reply without a readable feature is kept as it is, unless it says that there is no difference. With `raw` DRP's
    differences are those before validation.
    """
    columns = rows.select(["status", "extracted", "validated", "features"]).to_pylist()
    return [_found(row, source) for row in columns]


def _found(row: Mapping[str, Any], source: Source) -> Found:
    if row["status"] != "ok":
        return Found("failed", None)
    text, features = row["validated"] or row["extracted"], row["features"]
    if source == "raw" and row["validated"] is not None:
        text, features = row["extracted"], parse_features(row["extracted"])
    if text is None:
        return Found("not compared", None)
    if features:
        return Found("found", render_features(features))
    return Found("none", None) if says_none(text) else Found("unparsed", text)


def _content(row: Row, programme: DifferenceProgramme) -> Row:
    """What the differences follow from. A programme of a user's own may read the place of a comparison too."""
    not_read = () if programme.origin else ("rank", "cluster", "target_timestamp")
    return {name: value for name, value in row.items() if name not in not_read}


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
        **asking_arguments(context, "differences", programme),
        programme=programme,
        prompts=context.spec.prompts,
        dimensions=context.config.differences.dimensions,
        memory=memory_of(context, "differences", VERSION, _settings(context.spec)),
    )


DIFFERENCES = Stage(
    "differences",
    version=VERSION,
    inputs=after("comparisons"),
    settings=_settings,
    resources=lambda spec: asking_resources(spec, _programme(spec)),
    make=_make,
    is_needed=for_need("differences"),
)
