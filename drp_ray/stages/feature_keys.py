"""feature_keys: the key of a taxonomy that each difference falls under in a judge's opinion, to be counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from drp_ray import schema
from drp_ray.evaluation.analyses.taxonomy import KEYS, LABELS, Label, read_label
from drp_ray.llm.model_worker import ModelRow, ModelWorker, call_facts
from drp_ray.llm.replies import UnusableReply
from drp_ray.llm.row_caller import RowCaller
from drp_ray.methods.base import Programme
from drp_ray.prompts.pack import FEATURE_KEY, PromptPack
from drp_ray.schema import Row
from drp_ray.stages.asking import asking_arguments, asking_resources, asking_settings
from drp_ray.stages.judging import thinks_first, thought
from drp_ray.stages.stage import JobSpec, Stage, StageContext, after
from drp_ray.storage.parts import Facts

TIMES_ASKED = 2
"""How often the judge is asked about a feature whose label cannot be read, each time with another seed."""

PROGRAMME = Programme("feature_keys", 1, {"judge": FEATURE_KEY})
_KEYS = [key._asdict() for key in KEYS]


def feature_facts(rows: pa.Table) -> Facts:
    """Besides the calls: features, and those without a key."""
    features = [feature for row in rows["keys"].to_pylist() for feature in row]
    return {
        **call_facts(rows),
        "features": len(features),
        "unreadable_keys": sum(not feature["readable"] for feature in features),
        "other_keys": sum(feature["readable"] and feature["key"] is None for feature in features),
    }


@dataclass
class MapFeatures(ModelWorker):
    """Asks the judge about one feature at a time, so that the program and not the model says which one is meant.

    An engine that can hold an answer to a label does so; what comes back is read strictly all the same.
    """

    prompts: PromptPack
    thinks_first: bool
    schema = schema.FEATURE_KEYS
    keys = ("user_id", "item_id", "rank")

    def rows_of(self, rows: pa.Table) -> Sequence[ModelRow]:
        """One row a comparison; one without features, or that failed, makes no model call."""
        wanted = rows.select(["user_id", "item_id", "rank", "status", "features"]).to_pylist()
        return [
            ModelRow(f"{row['user_id']}\0{row['item_id']}\0{row['rank']}", partial(self._map, row), _blank(row))
            for row in wanted
        ]

    def facts(self, rows: pa.Table) -> Facts:
        """Besides the calls: features, and those without a key."""
        return {**super().facts(rows), **feature_facts(rows)}

    async def _map(self, row: Row, ask: RowCaller) -> Row:
        if row["status"] != "ok":
            return {}
        labels = [await self._label_of(feature, ask) for feature in row["features"]]
        return {
            "keys": [
                _entry(index, feature, label)
                for index, (feature, label) in enumerate(zip(row["features"], labels, strict=True))
            ]
        }

    async def _label_of(self, feature: Row, ask: RowCaller) -> Label | None:
        for _ in range(TIMES_ASKED):
            try:
                label = read_label(await self._answer_about(feature, ask))
            except UnusableReply:  # thinking without an end is as unreadable: the other features keep their labels
                continue
            if label is not None:
                return label
        return None

    async def _answer_about(self, feature: Row, ask: RowCaller) -> str:
        """One of the labels where the engine can see to that; a judge that thinks does so first."""
        prompt, answer = self.prompts.feature_key(feature, _KEYS), ""
        if self.thinks_first:
            answer, prompt = await thought(prompt, ask)
        if read_label(answer) is not None:
            return answer
        return await ask.choose("judge", prompt, tuple(LABELS), self.roles["judge"].sampling.max_tokens)


def _entry(index: int, feature: Row, label: Label | None) -> Row:
    key, direction = label or Label(None, 0)
    return {
        "index": index,
        "name": feature["name"],
        "readable": label is not None,
        "key": key,
        "direction": direction,
    }


def _blank(row: Row) -> Row:
    return {
        **{name: row[name] for name in ("user_id", "item_id", "rank")},
        "keys": [],
        "failed": row["status"] != "ok",
    }


def _settings(spec: JobSpec) -> dict[str, Any]:
    return {**asking_settings(spec, PROGRAMME), "keys": _KEYS, "labels": sorted(LABELS), "times_asked": TIMES_ASKED}


def _make(context: StageContext) -> MapFeatures:
    model = context.config.models[context.config.model_of("judge")]
    arguments = asking_arguments(context, "feature_keys", PROGRAMME)
    return MapFeatures(**arguments, prompts=context.spec.prompts, thinks_first=thinks_first(model))


FEATURE_KEYS = Stage(
    "feature_keys",
    version=1,
    inputs=after("differences"),
    settings=_settings,
    resources=lambda spec: asking_resources(spec, PROGRAMME),
    make=_make,
    is_needed=lambda spec: spec.config.evaluation.feature_keys and "differences" in spec.method.needs.stages,
    only_evaluates=True,
)
