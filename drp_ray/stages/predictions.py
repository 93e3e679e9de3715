"""predictions: the review that a user would write, by the configured method or the simplest that can run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from drp_ray import schema
from drp_ray.llm.model_worker import ModelRow, ModelWorker, call_facts
from drp_ray.llm.row_caller import RowCaller
from drp_ray.methods.base import Method, UserContext, method_or_fallback
from drp_ray.prompts.pack import PromptPack
from drp_ray.schema import Row
from drp_ray.stages.asking import asking_arguments, asking_resources, asking_settings, memory_of
from drp_ray.stages.stage import Stage, StageContext, after
from drp_ray.storage.parts import Facts

VERSION = 3
"""The stage's version."""


def prediction_facts(rows: pa.Table) -> Facts:
    """Besides the calls: users by the method that wrote for them, and comparisons that were read."""
    return {
        **call_facts(rows),
        **_counts("method", rows["method"].to_pylist()),
        **_counts("fallback", [reason for reason in rows["fallback"].to_pylist() if reason]),
        "differences": sum(rows["n_differences"].to_pylist()),
        "users_with_failed_differences": sum(count > 0 for count in rows["n_failed_differences"].to_pylist()),
    }


@dataclass
class Predict(ModelWorker):
    """Runs a method over users."""

    method: Method
    prompts: PromptPack
    schema = schema.PREDICTIONS
    keys = ("user_id",)

    def rows_of(self, rows: pa.Table) -> Sequence[ModelRow]:
        """One row a user."""
        return [
            ModelRow(row["user_id"], partial(self._predict, row), self._blank(row), content=row)
            for row in rows.to_pylist()
        ]

    def facts(self, rows: pa.Table) -> Facts:
        """Besides the calls: users by the method that wrote for them, and comparisons that were read."""
        return {**super().facts(rows), **prediction_facts(rows)}

    async def _predict(self, row: Row, ask: RowCaller) -> Row:
        user = UserContext.from_row(row)
        written = await method_or_fallback(self.method, user).write(user, ask, self.prompts)
        return {"summary": written.summary, "prediction": written.prediction}

    def _blank(self, row: Row) -> Row:
        return {
            "user_id": row["user_id"],
            "item_id": row["target"]["item_id"],
            "method": method_or_fallback(self.method, UserContext.from_row(row)).name,
            "fallback": fallback_reason(self.method, row),
            "reference": row["reference"],
            "n_history": len(row["history"]),
            "n_differences": len(row["differences"]),
            "n_failed_differences": row["n_failed_differences"],
        }


def _counts(name: str, values: Sequence[str]) -> Facts:
    return {f"{name}:{value}": values.count(value) for value in sorted(set(values))}


def fallback_reason(method: Method, row: Row) -> str | None:
    """Why a simpler method writes for a user than the configured one; None where it is the configured one."""
    user = UserContext.from_row(row)
    lacking = [column for column in method.needs.columns if not getattr(user, column)]
    if not lacking:
        return None
    if "history" in lacking:
        return "no past reviews"
    if lacking != ["differences"]:
        return "no reviews by others"
    if row["n_failed_differences"]:
        return "differences failed"
    return "no differences" if row["n_comparisons"] else "no comparisons"


def _make(context: StageContext) -> Predict:
    method = context.spec.method
    memory = memory_of(context, "predictions", VERSION, asking_settings(context.spec, method))
    arguments = asking_arguments(context, "predictions", method)
    return Predict(**arguments, method=method, prompts=context.spec.prompts, memory=memory)


PREDICTIONS = Stage(
    "predictions",
    version=VERSION,
    inputs=after("contexts"),
    settings=lambda spec: asking_settings(spec, spec.method),
    resources=lambda spec: asking_resources(spec, spec.method),
    make=_make,
)
