"""Finished runs that were made up: the folders that a job leaves, without a job. Texts are words by chance."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from drp_ray import schema
from drp_ray.config import Evaluation, checked
from drp_ray.evaluation.authorship import ATTRIBUTIONS, AUTHORS
from drp_ray.evaluation.controls import CEILING, OF_DATA, PREDICTION, SWAPPED, control_schema, report_controls
from drp_ray.evaluation.judge import measure_name
from drp_ray.evaluation.metrics.base import open_metrics, scores_schema, signatures
from drp_ray.evaluation.user_scores import values_of
from drp_ray.job.judged import judged_in
from drp_ray.job.run_scores import read_controls, user_scores_in
from drp_ray.llm.kept import kept_schema
from drp_ray.stages.judgements import STAGE, judge_of
from drp_ray.stages.judging import stage_name
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Manifest, add_up, commit_part, part_name, read_manifest, write_manifest

CHANCE = random.Random(0)
VOCABULARY = ["".join(CHANCE.choices("aeioulnrstmdgkpbvf", k=2 + number % 9)) for number in range(6000)]
PHRASES = [CHANCE.choices(VOCABULARY, [1 / (rank + 3) for rank in range(6000)], k=9) for _ in range(5000)]
"""Texts are made of these, since drawing word by word takes minutes for thousands of users."""

CALL = {
    "status": "ok",
    "error": None,
    "attempts": 1,
    "prompt_tokens": 900,
    "cached_tokens": 300,
    "completion_tokens": 120,
    "finish_reason": "stop",
    "truncated": False,
    "thinking_tokens": 40,
    "unfinished_thinking": 0,
    "seeds": [1],
    "cut_off": 0,
    "preambles": 0,
}
OPENED = open_metrics(Evaluation(), Path("/nowhere"))
BLEU = [name for name in scores_schema().names if name.startswith("bleu_")]
OWN = {PREDICTION: 0.5, CEILING: 0.8, "own_review": 0.8}
SHARED = ("contexts", "comparisons", "items", "embeddings")
"""The stages that runs of one dataset share."""


@dataclass
class MadeRun:
    """A run over a made-up dataset. Runs of one `root` with equal sizes share what jobs share.

    `texts` replaces the texts of a user's reference and prediction; `failed` users have no prediction, and
    `failed_differences` users have an error row on their first item. `skill` moves the scores. `judged` has the mean
    score of each judge. `prefix` begins all ids of users, with as many characters as the usual one.
    """

    root: Folder
    name: str = "first"
    prefix: str = "user-"
    n_users: int = 12
    method: str = "drp"
    skill: float = 0.0
    history: int = 3
    peers: int = 3
    words: int = 30
    rows_per_part: int = 5
    backwards: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)
    failed_differences: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    has_controls: bool = False
    has_embeddings: bool = False
    dimensions: int = 2
    judged: Mapping[str, float] = field(default_factory=dict)
    published: Mapping[str, Any] | None = None

    def write(self) -> Folder:
        """Write all stages and the run's folder, and return that."""
        stages = {name: self._folder(name) for name in ("contexts", "predictions", "scores")}
        self._write("contexts", schema.CONTEXTS, map(self._context, self.users))
        predictions = self._write("predictions", schema.PREDICTIONS, map(self._prediction, self.users))
        made_from = {"settings": {"metrics": signatures(Evaluation())}}
        self._write("scores", scores_schema(), map(self._score, self.users), made_from)
        self._write_kept(predictions, ("user_id",), [{"user_id": user} for user in self.users])
        if self.method == "drp":
            stages |= {name: self._folder(name) for name in ("comparisons", "differences")}
            pairs = [(user, rank) for item in self.items for user, rank in self._asking(item)]
            self._write("comparisons", schema.COMPARISONS, (self._comparison(*pair) for pair in pairs))
            differences = self._write("differences", schema.DIFFERENCES, (self._difference(*pair) for pair in pairs))
            keys = [{"user_id": user, "item_id": self.item(user, rank)} for user, rank in pairs]
            self._write_kept(differences, ("user_id", "item_id"), keys)
        stages |= dict(self._write_evaluation(predictions))
        return self._write_run(stages, predictions)

    def _write_evaluation(self, predictions: Manifest) -> Iterator[tuple[str, Folder]]:
        """The stages of judges, controls and embeddings, where the run has them."""
        for judge, mean in self.judged.items():
            stage = stage_name(STAGE, judge)
            answers = (self._judgement(user, judge, mean) for user in self.users)
            self._write(stage, schema.JUDGEMENTS, answers, self._judge(judge), {"predictions": predictions.content})
            yield stage, self._folder(stage)
        if self.has_controls:
            for stage, scored, attributed in (
                ("control_scores", OF_DATA, OF_DATA),
                ("prediction_controls", [SWAPPED], [PREDICTION, SWAPPED]),
            ):
                columns = control_schema(OPENED, scored, attributed)
                self._write(stage, columns, (self._control(user, columns) for user in self.users))
                yield stage, self._folder(stage)
        if self.has_embeddings:
            self._write("items", schema.ITEMS, map(self._item, self.items))
            self._write("embeddings", schema.EMBEDDINGS, map(self._embedding, self.users))
            yield from ((stage, self._folder(stage)) for stage in ("users", "items", "embeddings"))

    def _judge(self, judge: str) -> dict[str, Any]:
        sampling = self.settings.get("sampling", {})
        temperature = sampling.get("judge", sampling).get("temperature")
        role = {"judge": {"model": {"id": f"judge/{judge}"}, "sampling": {"temperature": temperature}}}
        return {"settings": {"samples": 1, "expected": False, "scale": "numbers", "roles": role}}

    def _judgement(self, user: str, judge: str, mean: float) -> dict[str, Any]:
        there = user not in self.failed
        score = round(min(max(random.Random(f"{user}{self.name}{judge}").gauss(mean, 1.5), 0), 10))
        return {"user_id": user, "text": "prediction", "sample": 0, **CALL, "score": score if there else None}

    def _control(self, user: str, columns: pa.Schema) -> dict[str, Any]:
        """A number by chance; the author is told as often as `OWN` says, and of other texts in a fifth of cases."""
        found: dict[str, Any] = {"user_id": user}
        for text, _, column in (name.partition(":") for name in columns.names[1:]):
            chance = random.Random(f"{user}{text}{column}{self.name if text in (PREDICTION, SWAPPED) else ''}")
            if text in (PREDICTION, SWAPPED) and user in self.failed:
                continue
            if column.startswith("author_"):
                found[f"{text}:{column}"] = float(chance.random() < OWN.get(text, 0.2))
            else:
                ratio = 1.0 if text == CEILING else chance.uniform(0.05, 0.25)
                is_total = column.startswith("bleu_") and "count" not in column
                found[f"{text}:{column}"] = 20 if is_total else round(20 * ratio) if "count" in column else ratio
        return found

    def _item(self, item: str) -> dict[str, Any]:
        reviews = [
            {"user_id": user, "rating": 1.0, "title": None, "text": "", "timestamp": 0, "text_id": user}
            for user, _ in self._asking(item)
        ]
        return {"item_id": item, "title": None, "description": None, "reviews": reviews, "requested_by": []}

    def _embedding(self, user: str) -> dict[str, Any]:
        return {"text_id": user, "vector": [float(int(user[5:]) ** 2 % 97)] * self.dimensions}

    @cached_property
    def users(self) -> list[str]:
        """The ids of all users, in the order of the parts."""
        users = [f"{self.prefix}{number:05d}" for number in range(self.n_users)]
        return users[::-1] if self.backwards else users

    @cached_property
    def items(self) -> list[str]:
        """The ids of all items."""
        return [f"item-{number:05d}" for number in range(max(self.n_users * self.history // 4, self.history))]

    def item(self, user: str, rank: int) -> str:
        """The item of a user's past review."""
        return self.items[(int(user[5:]) * self.history + rank) % len(self.items)]

    def text(self, *names: Any, words: int | None = None) -> str:
        """A text of its own for every name."""
        return _text("/".join(map(str, names)), words or self.words)

    def _asking(self, item: str) -> Iterator[tuple[str, int]]:
        yield from self._by_item().get(item, [])

    def _by_item(self) -> dict[str, list[tuple[str, int]]]:
        if not hasattr(self, "_asked"):
            self._asked: dict[str, list[tuple[str, int]]] = {}
            for user in self.users:
                for rank in range(self.history):
                    self._asked.setdefault(self.item(user, rank), []).append((user, rank))
        return self._asked

    def _review(self, user: str, item: str) -> dict[str, Any]:
        return {
            "item_id": item,
            "rating": float(1 + (int(user[5:]) + int(item[5:])) % 5),
            "title": self.text("title", user, item, words=4),
            "text": self.text("review", user, item),
            "timestamp": 1_500_000_000_000 + int(user[5:]) * 86_400_000 + int(item[5:]) * 1000,
        }

    def _about(self, item: str) -> dict[str, Any]:
        title, description = self.text("item", item, words=3), self.text("about", item, words=20)
        return {"item_title": title, "item_description": description}

    def _context(self, user: str) -> dict[str, Any]:
        target = f"item-{(int(user[5:]) * 7 + 1) % len(self.items):05d}"
        items = [self.item(user, rank) for rank in range(self.history)]
        return {
            "user_id": user,
            "target": {**self._review(user, target), **self._about(target)},
            "reference": self.reference(user),
            "history": [{**self._review(user, item), **self._about(item)} for item in items],
            "differences": [],
            "profile": None,
            "peers": None,
            "n_comparisons": self.history,
            "n_no_difference": 0,
            "n_failed_differences": int(user in self.failed_differences),
        }

    def reference(self, user: str) -> str:
        """The real review."""
        return self.texts.get(user, self.text("reference", user))

    def _prediction(self, user: str) -> dict[str, Any]:
        has_failed = user in self.failed
        written = (
            {} if has_failed else {"summary": self.text("summary", user, self.name), "prediction": self._written(user)}
        )
        simpler = user.endswith("7") and self.method == "drp"
        return {
            "user_id": user,
            "item_id": f"item-{(int(user[5:]) * 7 + 1) % len(self.items):05d}",
            "method": "intsum" if simpler else self.method,
            "fallback": "no comparisons" if simpler else None,
            "reference": self.reference(user),
            "n_history": self.history,
            "n_differences": self.history if self.method == "drp" else 0,
            "n_failed_differences": int(user in self.failed_differences),
            **CALL,
            **written,
            **({"status": "error", "error": self.failed[user]} if has_failed else {}),
        }

    def _written(self, user: str) -> str:
        return self.texts.get(user, self.text("prediction", user, self.name) + " " + self.reference(user)[:60])

    def _score(self, user: str) -> dict[str, Any]:
        if user in self.failed:
            return {"user_id": user}
        chance = random.Random(f"{user}{self.name}")
        values = {
            name: round(min(max(chance.gauss(0.3 + self.skill, 0.1), 0), 1), 6)
            for name in ("rouge1", "rougeL", "meteor")
        }
        matched = round(20 * values["rouge1"])
        statistics = {name: matched if "count" in name else 20 for name in BLEU}
        described = {name: round(chance.uniform(0, 0.3), 4) for name in ("length_ratio", "copy_rate", "distinct1")}
        return {"user_id": user, **values, "bleu": 40 * values["rouge1"], **described, **statistics}

    def _comparison(self, user: str, rank: int) -> dict[str, Any]:
        item = self.item(user, rank)
        number = int(user[5:])
        others = [f"user-{(number // 40 * 40 + step) % (self.n_users + 40):05d}" for step in range(self.peers + 1)]
        peers = [
            {"user_id": other, "cluster": place, **self._review(other, item)}
            for place, other in enumerate([other for other in others if other != user][: self.peers])
        ]
        about = self._about(item)
        return {
            "user_id": user,
            "item_id": item,
            "rank": rank,
            "review": self._review(user, item),
            "title": about["item_title"],
            "description": about["item_description"],
            "cluster": self.peers,
            "representatives": peers,
            "target_timestamp": 1_600_000_000_000,
        }

    def _difference(self, user: str, rank: int) -> dict[str, Any]:
        item, about = self.item(user, rank), ("Tonality", "Breadthwise", "Granularity")
        features = [
            {
                "name": name,
                "definition": f"{name} of it",
                "description": self.text(name, user, item, self.name, words=14),
            }
            for name in about
        ]
        reworded = [{**features[0], "description": self.text("anew", user, item, self.name, words=9)}, features[1]]
        found = {"extracted": blocks(features), "validated": blocks(reworded), "features": reworded}
        has_failed = user in self.failed_differences and rank == 0
        failure = {"status": "error", "error": self.failed_differences.get(user)}
        return {
            "user_id": user,
            "item_id": item,
            "rank": rank,
            "title": self._about(item)["item_title"],
            "representatives": [],
            **CALL,
            **({**failure, "features": []} if has_failed else found),
        }

    def _folder(self, stage: str) -> Folder:
        shared = f"{self.n_users}-{self.history}-{self.words}-{'back' if self.backwards else 'on'}-{self.rows_per_part}"
        return self.root.at(stage, shared if stage in SHARED else f"{shared}-{self.name}")

    def _write(
        self,
        stage: str,
        columns: pa.Schema,
        rows: Iterator[Mapping[str, Any]],
        made_from: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> Manifest:
        folder, entries = self._folder(stage), []
        if stage in SHARED and (there := read_manifest(folder)) is not None:
            return there
        for number, batch in enumerate(batches(rows, self.rows_per_part)):
            table = pa.Table.from_pylist(list(batch), columns)
            facts: dict[str, float] = {"seconds": 1.5}
            if "prompt_tokens" in columns.names:
                facts |= {
                    name: sum(table[name].to_pylist())
                    for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
                }
                facts["errors"] = table["status"].to_pylist().count("error")
            entries.append(commit_part(folder, part_name(number), table, facts, "").entry)
        totals = add_up(entry.facts for entry in entries)
        manifest = Manifest(
            stage=stage,
            fingerprint=folder.uri[-16:],
            made_from=dict(made_from or {}),
            inputs=dict(inputs or {}),
            parts=entries,
            wall_s=2.0,
            totals=totals,
        )
        write_manifest(folder, manifest)
        return manifest

    def _write_kept(self, stage: Manifest, keys: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
        for number, batch in enumerate(batches(iter(rows), self.rows_per_part)):
            thoughts = [
                {**row, "call": 0, "role": "extractor", "thinking": self.text("thought", *row.values()), "answer": "a"}
                for row in batch
            ]
            table = pa.Table.from_pylist(thoughts, kept_schema([pa.field(key, pa.string()) for key in keys]))
            of = stage.parts[number]
            commit_part(self._folder(stage.stage).at("kept"), of.name, table, {}, of.digest or "")

    def _write_run(self, stages: Mapping[str, Folder], predictions: Manifest) -> Folder:
        folder = self.root.at("runs", self.name)
        model = {"engine": "openai", "id": "m"}
        settings = {
            "name": self.name,
            "dataset": "data/made",
            "root": "results",
            "method": self.method,
            **self.settings,
        }
        config = checked({"models": {"llm": model}, **settings}, "made")
        record = {
            "name": self.name,
            "made_from": {},
            "config": config.model_dump(mode="json"),
            "stages": {name: self._stage_record(name, stage) for name, stage in stages.items()},
            "revisions": {},
            "libraries": {"drp-ray": "0.1.0", "ray": "2.60.0"},
            "commit": "0123456789abcdef",
            "history": [{"versions": {}, "since": "2026-01-02T03:04:05+00:00"}],
        }
        folder.write("run.json", json.dumps(record).encode())
        folder.write("metrics.json", json.dumps(self._metrics() | self._evaluated(stages)).encode())
        return folder

    def _stage_record(self, name: str, stage: Folder) -> dict[str, Any]:
        record = {"fingerprint": "users" if name == "users" else "f", "folder": stage.uri}
        judge = judge_of(name)
        return record if judge is None else {**record, "made_from": self._judge(judge)}

    def _evaluated(self, stages: Mapping[str, Folder]) -> dict[str, Any]:
        """What the job's own functions report of judges and controls."""
        manifests = {name: read_manifest(folder) for name, folder in stages.items()}
        settings = {name: self._judge(judge_of(name) or "")["settings"] for name in stages}
        found = list(judged_in({name: (settings[name], stages[name]) for name in stages}, manifests["predictions"]))
        users, controls = user_scores_in(stages, found), read_controls(stages)
        judged = {each.name: users.numbers(each.measures)[measure_name(each.name)] for each in found}
        numbers = users.numbers(OPENED)
        metrics: dict[str, Any] = {
            "metrics": values_of(numbers),
            "scored": {name: number.n for name, number in numbers.items()},
            "with_failures_as_empty": values_of(users.numbers_with_failures([m for m in OPENED if m.name != "meteor"])),
            "judges": {
                each.name: {
                    **each.numbers(),
                    "value": judged[each.name].value,
                    "n": judged[each.name].n,
                    "expected": None,
                }
                for each in found
            },
            "published": self.published,
        }
        if controls is None:
            return metrics
        told = users.numbers(ATTRIBUTIONS)
        identification: dict[str, Any] = {"chance": 1 / AUTHORS, "metrics": values_of(told)}
        identification["n"] = {name: number.n for name, number in told.items()}
        controls_of = report_controls([*OPENED, *ATTRIBUTIONS], users, controls)
        return {**metrics, "controls": controls_of, "author_identification": identification}

    def _metrics(self) -> dict[str, Any]:
        names = ("bleu", "meteor", "rouge1", "rougeL")
        coverage = {"comparisons": self.n_users * self.history, "users_by_method": {self.method: self.n_users}}
        return {
            "run": self.name,
            "method": self.method,
            "users": self.n_users,
            "by_method": {self.method: {"n": self.n_users, "metrics": {}}},
            "failed_users": len(self.failed),
            "signatures": {name: f"{name}|made" for name in names},
            "coverage": coverage,
        }


@lru_cache(maxsize=200_000)
def _text(name: str, words: int) -> str:
    chance = random.Random(name)
    drawn = [word for _ in range(words // 9 + 1) for word in PHRASES[int(chance.random() * len(PHRASES))]]
    return " ".join(drawn[:words]).capitalize() + "."


def blocks(features: Sequence[Mapping[str, str]]) -> str:
    """Differences in the format that DRP asks for."""
    return "".join(
        f"---\n[{each['name']}]\nDefinition: {each['definition']}\nDifference Description: {each['description']}\n---\n"
        for each in features
    )


def batches(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Rows in groups of a size."""
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
