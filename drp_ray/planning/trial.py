"""Takes sampled users through every stage of a job that asks language models, as a run would, one stage after another.

A stage's own worker says what its rows ask. Here is only how the rows that it reads are made without the stages
between: what a stage reads is in `INPUTS`, and a stage that is not there cannot be planned.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from drp_ray import schema
from drp_ray.inputs.catalogue import Catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.plan import Plan
from drp_ray.llm.model_worker import ModelRow, ModelWorker
from drp_ray.planning.asked import Call
from drp_ray.planning.sampled_users import SampledUsers
from drp_ray.schema import Row
from drp_ray.stages.contexts import context_of, in_time_order, with_items
from drp_ray.stages.differences import found_differences
from drp_ray.stages.stage import JobSpec, Stage, StageContext, base_name

_NO_CACHE = Path("/nowhere")
"""Workers that ask language models fetch nothing."""


class Asked(NamedTuple):
    """A row of a stage: whose it is, what it came to, and what its calls cost."""

    user_id: str
    row: Row
    calls: list[Call]


Made = dict[str, list[Asked]]
"""What was asked, by stage."""

AskRows = Callable[[str, ModelWorker, Sequence[ModelRow], Sequence[Sequence[ModelRow]]], Awaitable[list[Asked]]]
"""Asks the rows of a stage (its name, its worker); before each of them, the rows that fill the prefix cache for it."""


@dataclass
class Trial:
    """A job's plan with sampled users; `made` grows by a stage at a time."""

    plan: Plan
    dataset: Dataset
    sample: SampledUsers
    made: Made = field(default_factory=dict)
    unplanned: list[str] = field(default_factory=list)

    async def go_through(self, ask: AskRows, names: Sequence[str] | None = None) -> Made:
        """Ask about all stages with language models, in order, or about some of them."""
        for name in self.stages() if names is None else names:
            worker = self.worker(name)
            rows, before = self._rows(name, worker)
            self.made[name] = await ask(name, worker, rows, before)
        return self.made

    def stages(self) -> list[str]:
        """The stages that ask language models and can be planned; the others are noted in `unplanned`."""
        asking = [name for name, resources in self.plan.resources().items() if resources.models]
        self.unplanned = [name for name in asking if base_name(name) not in INPUTS]
        return [name for name in asking if base_name(name) in INPUTS]

    def worker(self, name: str) -> ModelWorker:
        """The worker of a stage, not started; it holds no key of an endpoint."""
        models = {
            key: each.model_copy(update={"api_key_env": None}) if each.api_key_env else each
            for key, each in self._spec.config.models.items()
        }
        spec = replace(self._spec, config=self._spec.config.model_copy(update={"models": models}))
        folders = {stage: info.folder for stage, info in self.plan.stages.items()}
        # No catalogue, which Ray would have to build: the rows that are asked about have all of it that they need.
        context = StageContext(spec, self.dataset, folders, _NO_CACHE, {self.dataset: None})
        worker = self._definition(name).make(context)
        assert isinstance(worker, ModelWorker), f"{name} holds language models and is no ModelWorker"
        return worker

    @property
    def _spec(self) -> JobSpec:
        return self.plan.spec

    def _definition(self, name: str) -> Stage:
        return self.plan.definitions[name]

    def _rows(self, name: str, worker: ModelWorker) -> tuple[list[ModelRow], list[list[ModelRow]]]:
        table = INPUTS[base_name(name)](self)
        rows = list(worker.rows_of(table))
        if base_name(name) != "differences":
            return rows, [[] for _ in rows]
        pairs = [(row.blank["user_id"], row.blank["item_id"]) for row in rows]
        before = [self.sample.before[pair] for pair in pairs]
        return rows, [list(worker.rows_of(_table(each, schema.COMPARISONS))) for each in before]


def _table(rows: Sequence[Row], columns: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(list(rows), columns)


def _comparisons(trial: Trial) -> pa.Table:
    return _table(trial.sample.comparisons, schema.COMPARISONS)


def _differences(trial: Trial) -> pa.Table:
    return _table([asked.row for asked in trial.made.get("differences", [])], schema.DIFFERENCES)


def _contexts(trial: Trial) -> pa.Table:
    """The contexts of the sampled users, with the differences that were found for them."""
    spec, items = trial.plan.spec, Catalogue(trial.sample.catalogue)
    found = _found_by_user(_differences(trial), spec.config.differences.source)
    rows = []
    for user in trial.sample.users:
        of_user, history = found.get(user["user_id"], []), trial.sample.history[user["user_id"]]
        context = {
            **context_of(user, history, of_user, items),
            "profile": with_items(in_time_order(user["profile"]), items),
            "peers": with_items(list(_peers(trial, user, history)), items),
        }
        wanted = {*spec.method.needs.columns, "history"}
        rows.append({**context, **{name: None for name in ("profile", "peers") if name not in wanted}})
    return _table(rows, schema.CONTEXTS)


def _found_by_user(differences: pa.Table, source: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    texts = found_differences(differences, source)  # type: ignore[arg-type]
    for row, each in zip(differences.to_pylist(), texts, strict=True):
        entry = {name: row[name] for name in ("rank", "item_id")} | {"item_title": row["title"]}
        found.setdefault(row["user_id"], []).append({**entry, "outcome": each.outcome, "text": each.text})
    return found


def _peers(trial: Trial, user: Row, history: Sequence[int]) -> Iterator[Row]:
    """Reviews by others in place of those that the stage `peers` would find, as many as it would."""
    need = trial.plan.spec.method.needs.name
    if need == "contrast":
        yield from _another_of_items(trial, user, [user["profile"][place]["item_id"] for place in history])
    if need == "neighbour" and len(trial.sample.users) > 1:
        place = trial.sample.users.index(user)
        neighbour = trial.sample.users[place - 1]
        n = trial.plan.spec.config.retrieval.n
        yield from ({**review, "user_id": neighbour["user_id"]} for review in neighbour["profile"][:n])


def _another_of_items(trial: Trial, user: Row, items: Sequence[str]) -> Iterator[Row]:
    """One review by somebody else of the first of some items that has any."""
    for item in items:
        for review in trial.sample.reviews.get(item, ()):
            if review["user_id"] != user["user_id"]:
                yield {name: review[name] for name in ("user_id", *schema.REVIEW.names)}
                return


def _predictions(trial: Trial) -> pa.Table:
    """Predictions beside what was to be written about."""
    targets = {row["user_id"]: row["target"] for row in _contexts(trial).select(["user_id", "target"]).to_pylist()}
    rows = [asked.row for asked in trial.made["predictions"]]
    shown = pa.array([targets[row["user_id"]] for row in rows], schema.TARGET)
    return _table(rows, schema.PREDICTIONS).append_column("target", shown)


def _controls(trial: Trial) -> pa.Table:
    """Real texts as the stage `controls` has them, beside what was to be written about."""
    rows = []
    for context, user in zip(_contexts(trial).to_pylist(), trial.sample.users, strict=True):
        target = user["target"]
        own = next((each["text"] for each in user["profile"] if each["item_id"] != target["item_id"]), None)
        other = next((each["text"] for each in _another_of_items(trial, user, [target["item_id"]])), None)
        texts = {"reference": target["text"], "own_review": own, "other_review": other}
        rows.append({"user_id": user["user_id"], "target": context["target"], **texts})
    columns = [("user_id", pa.string()), ("target", schema.TARGET)]
    return pa.Table.from_pylist(
        rows, pa.schema([*columns, *((name, pa.string()) for name in ("reference", "own_review", "other_review"))])
    )


INPUTS: Mapping[str, Callable[[Trial], pa.Table]] = {
    "differences": _comparisons,
    "predictions": _contexts,
    "judgements": _predictions,
    "control_judgements": _controls,
    "feature_keys": _differences,
}
"""What the stages that ask language models read, made for the sampled users; of other stages nothing is known."""
