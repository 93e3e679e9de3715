"""What a table of any stage holds of one person, and the same table without it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.engines.embedder import text_id
from drp_ray.llm.memory import FORGOTTEN, REPLACED, REUSED, paid
from drp_ray.llm.model_worker import COUNTED, call_facts
from drp_ray.running.worker import Key, keys_of
from drp_ray.schema import Row
from drp_ray.stages.comparisons import comparison_facts
from drp_ray.stages.differences import difference_facts
from drp_ray.stages.feature_keys import feature_facts
from drp_ray.stages.judging import judgement_facts
from drp_ray.stages.predictions import prediction_facts
from drp_ray.storage.parts import Facts

COUNTS: Mapping[str, Callable[[pa.Table], Facts]] = {
    "comparisons": comparison_facts,
    "differences": difference_facts,
    "predictions": prediction_facts,
    "judgements": judgement_facts,
    "control_judgements": judgement_facts,
    "feature_keys": feature_facts,
}
"""How the stages count what is in their rows; those of the others follow from their columns."""

Rows = list[dict[str, Any]]
Call = tuple[str, str | None]
"""Somebody's calls: a user, and an item where only those about it are meant."""

ONE_USER = ("user_id", "swapped_user")
MANY_USERS = ("representatives",)
"""Columns that hold users, wherever they stand. In no other may a text that is somebody's id be taken for them."""

WORDING = ("thinking", "prompt", "answer")
TEXTS = ("text", "reference", "own_review")


@dataclass(frozen=True)
class Person:
    """Somebody to be forgotten, and what tells where else their reviews are.

    `text_ids` are the digests of their reviews, `shared` those of reviews that somebody else wrote too. `shown_to` are
    calls of others in whose prompts their reviews stood.
    """

    user_id: str
    text_ids: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    shown_to: frozenset[Call] = frozenset()

    def learned(self, stage: str, rows: pa.Table) -> "Person":
        """The same person, with what one more table says of their reviews. Tables come in the order of the stages."""
        named = self.is_named_in(rows)
        if not named and stage not in ("items", "controls"):
            return self
        found = rows.to_pylist()
        texts = {text_id(text) for text in _texts_of(self.user_id, found)} if named else set()
        known = replace(self, text_ids=self.text_ids | texts)
        return replace(
            known,
            shared=self.shared | frozenset(known._ids_of_others(found) if stage == "items" else ()),
            shown_to=self.shown_to | frozenset(known._calls_of_others(stage, found)),
        )

    def _ids_of_others(self, items: Rows) -> Iterator[str]:
        reviews = (review for item in items for review in item["reviews"] if review["user_id"] != self.user_id)
        return (review["text_id"] for review in reviews if review["text_id"] in self.text_ids)

    def _calls_of_others(self, stage: str, rows: Rows) -> Iterator[Call]:
        for row in rows:
            if stage == "comparisons" and self._is_among(row["representatives"]):
                yield row["user_id"], row["item_id"]
            elif (stage == "peers" and self._is_among(row["reviews"])) or (
                stage == "controls" and self._wrote(row["other_review"])
            ):
                yield row["user_id"], None

    def _is_among(self, reviewers: Rows) -> bool:
        return any(each["user_id"] == self.user_id for each in reviewers)

    def _wrote(self, text: str | None) -> bool:
        return text is not None and text_id(text) in self.text_ids

    def is_named_in(self, rows: pa.Table) -> bool:
        """Whether a column that holds users, however deep, holds them."""
        columns = zip(rows.column_names, rows.columns, strict=True)
        return any(
            pc.any(pc.equal(users, self.user_id)).as_py()
            for name, column in columns
            for users in _users_in(name, column)
        )

    def removed_from(self, stage: str, rows: pa.Table) -> pa.Table:
        """The table without their rows, without them in others' rows, and without the vectors of their reviews."""
        if stage == "embeddings":
            theirs = pa.array(self.text_ids - self.shared, pa.string())
            return rows.filter(pc.invert(pc.is_in(rows["text_id"], theirs)))
        if stage == "controls":
            rows = self._with_other_reviews_of_others(rows)
        if "error" in rows.column_names and rows["error"].null_count < rows.num_rows:
            rows = self._with_errors_that_quote_nothing(rows)
        if not self.is_named_in(rows):
            return rows
        return pa.Table.from_pylist(_without(self.user_id, rows.to_pylist()), rows.schema)

    def _with_errors_that_quote_nothing(self, rows: pa.Table) -> pa.Table:
        """What an endpoint said of a prompt may quote it: where their reviews stood in it, the kind is left."""
        place = rows.schema.get_field_index("error")
        errors = [
            row["error"].partition(": ")[0] if row["error"] and self._was_shown_to(row) else row["error"]
            for row in rows.to_pylist()
        ]
        return rows.set_column(place, rows.schema.field(place), pa.array(errors, pa.string()))

    def _was_shown_to(self, row: Row) -> bool:
        return not self.shown_to.isdisjoint({(row["user_id"], row.get("item_id")), (row["user_id"], None)})

    def _with_other_reviews_of_others(self, rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index("other_review")
        texts = [None if self._wrote(text) else text for text in rows["other_review"].to_pylist()]
        return rows.set_column(place, rows.schema.field(place), pa.array(texts, pa.string()))

    def removed_from_calls(self, rows: pa.Table) -> pa.Table:
        """Kept calls without theirs, and without the wording of those of others in which their reviews stood."""
        calls = []
        for row in _without(self.user_id, rows.to_pylist()):
            calls.append({**row, **dict.fromkeys(WORDING)} if self._was_shown_to(row) else row)
        return pa.Table.from_pylist(calls, rows.schema)


def _users_in(name: str, column: pa.ChunkedArray | pa.Array) -> Iterator[pa.Array]:
    """The arrays of user ids in a column: itself, or those in its lists and structs."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_string(column.type) and name in (*ONE_USER, *MANY_USERS):
        yield column
    elif pa.types.is_list(column.type):
        yield from _users_in(name, column.flatten())
    elif pa.types.is_struct(column.type):
        for field, values in zip(column.type, column.flatten(), strict=True):
            yield from _users_in(field.name, values)


def _texts_of(user_id: str, value: Any, is_theirs: bool = False) -> Iterator[str]:
    """The reviews by a user in rows: what stands beside their id, at any depth, and not beside another one."""
    if isinstance(value, Mapping):
        is_theirs = value["user_id"] == user_id if "user_id" in value else is_theirs
        if is_theirs:
            yield from (value[name] for name in TEXTS if value.get(name) is not None)
        for inner in value.values():
            yield from _texts_of(user_id, inner, is_theirs)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str):
                yield from [inner] if is_theirs else []
            else:
                yield from _texts_of(user_id, inner, is_theirs)


def _without(user_id: str, value: Any, name: str = "") -> Any:
    """A value without the elements of lists that are a user or about one; another mention becomes null."""
    if isinstance(value, list):
        return [_without(user_id, inner, name) for inner in value if not _is_of(user_id, inner, name)]
    if isinstance(value, Mapping):
        return {key: _without(user_id, inner, key) for key, inner in value.items()}
    return None if name in ONE_USER and value == user_id else value


def _is_of(user_id: str, value: Any, name: str) -> bool:
    if isinstance(value, Mapping):
        return bool(value.get("user_id") == user_id)
    return name in MANY_USERS and bool(value == user_id)


def facts_after(stage: str, facts: Facts, before: pa.Table, after: pa.Table) -> Facts:
    """The facts of a part once rows went from it: what is counted in its rows is counted again.

    Times stay, and so does what was paid.
    """
    if stage in COUNTS:
        counted, now = COUNTS[stage](before), COUNTS[stage](after)
    else:
        counted, now = (_counts_of_columns(rows) for rows in (before, after))
        now = {name: value for name, value in now.items() if name in facts}
    left = {name: value for name, value in facts.items() if name not in counted and name != "rows"}
    return {**left, **now, **_paid_as_before(facts, after)}


def _paid_as_before(facts: Facts, after: pa.Table) -> Facts:
    """What is to be said of tokens so that a part has cost what it did before rows went from it.

    Which rows were taken over is not known: at most all that are left and ok.
    """
    if "prompt_tokens" not in facts:
        return {}
    now, ok = call_facts(after), after.filter(pc.equal(after["status"], "ok"))
    most = {REUSED: ok.num_rows, **{f"{REUSED}_{name}": call_facts(ok)[name] for name in COUNTED}}
    reused: Facts = {name: min(facts[name], limit) for name, limit in most.items() if name in facts}
    stays = {name: count for name, count in facts.items() if name.startswith(f"{REPLACED}_")} | reused
    forgotten = {f"{FORGOTTEN}_{name}": paid(facts, name) - paid({**stays, name: now[name]}, name) for name in COUNTED}
    return {**reused, **{name: tokens for name, tokens in forgotten.items() if tokens}}


def altered_keys(before: pa.Table, after: pa.Table) -> list[Key]:
    """The keys of the rows that are left of a table and hold something else now."""
    columns = [name for name in ("user_id", "item_id") if name in before.column_names]
    earlier = dict(zip(keys_of(before, columns), before.to_pylist(), strict=True))
    now = zip(keys_of(after, columns), after.to_pylist(), strict=True)
    return [key for key, row in now if row != earlier[key]]


def _counts_of_columns(rows: pa.Table) -> Facts:
    """What the other stages say of a part: sums of columns, and how many values there are or are not."""
    counts: Facts = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            counts[name] = float(pc.sum(column, min_count=0).as_py())
        counts[f"scored:{name}"] = len(column) - column.null_count
        counts[f"without_{name}"] = column.null_count
    if "requested_by" in rows.column_names:
        counts["requests"] = float(pc.sum(pc.list_value_length(rows["requested_by"]), min_count=0).as_py())
    return counts
