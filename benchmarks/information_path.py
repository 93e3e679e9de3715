"""Does what sets a user apart reach the review? On generated users, whose manner is known.

    python -m benchmarks.information_path [--users 150] [--seed 1] [--model package:drp_ray] [--out TABLE.json]

The quickstart's job runs, as far as `contexts`, on users that the sample writer was not trained on. Then one engine
writes for the same users by several methods, by `drp` with the differences of another user, and by `drp` with all that
is known of another user; and it validates, for every comparison, a list in which false differences stand among true
ones, as the truth has them. Every row of the table is a difference of two methods on the same users, with a 95%
interval from 10,000 draws of users; it is shown for ROUGE-1, for the share of traits (word choice, tone, punctuation,
length, order, closing) that a rule reads in the prediction as they are in the generator's truth, and for the traits
that the summary names rightly.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from rouge_score import rouge_scorer

from drp_ray.config import Model, Selection
from drp_ray.data.sample import sample_style
from drp_ray.data.sample_files import write_sample
from drp_ray.data.sample_words import EMBEDDED
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.engines.vllm import VllmEngine
from drp_ray.job.job import Job
from drp_ray.llm.replies import parse_features
from drp_ray.llm.row_caller import RoleSpec, RowCaller
from drp_ray.methods.base import METHODS, Method, UserContext, Written, method_or_fallback
from drp_ray.prompts.pack import PromptPack
from drp_ray.schema import Row
from drp_ray.stages.comparisons import compare_item
from drp_ray.storage.folder import LocalFolder
from training.examples import possible_values
from training.reading import named_in, read_traits
from training.teacher import difference_blocks, noted_differences
from training.traits import Traits, differing, traits_of

QUICKSTART = Path(__file__).parents[1] / "jobs" / "quickstart.yaml"
SEED = 1
"""Of the users: the quickstart's own have 0, and the training drew none by number."""

GREEDY = {"temperature": 0, "max_tokens": 256}
"""The most probable words, so that chance adds nothing to what differs between users."""

DRAWS = 10_000
OTHERS = "drp with another user's differences"
OTHER_USER = "drp with another user's past reviews and differences"
PAIRS = (
    ("drp", "nonperso"),
    ("rag", "nonperso"),
    ("intsum", "nonperso"),
    ("drp", "rag"),
    ("drp", "intsum"),
    ("drp", OTHERS),
    ("drp", OTHER_USER),
    (OTHERS, "nonperso"),
)


@dataclass(frozen=True)
class Interval:
    """A mean of paired differences, and where it lies in 95 of 100 draws."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Mixed:
    """A list of differences of a comparison with false ones in it, what validation kept of it, and what is true."""

    user_id: str
    noted: set[tuple[str, str]]
    kept: set[tuple[str, str]]
    true: set[tuple[str, str]]


@dataclass(frozen=True)
class Followed:
    """What was written for every user, by method, and what is known of users and comparisons."""

    written: Mapping[str, Mapping[str, Written]]
    mixed: Sequence["Mixed"]
    references: Mapping[str, str]
    truth: Mapping[str, Traits]
    comparisons: Sequence[Row]
    differences: Sequence[Row]
    items: Sequence[Row]
    selection: Selection


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=150)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--model", default=None, help="instead of the quickstart's")
    parser.add_argument("--sampled", action="store_true", help="draw words as the quickstart does, not the likeliest")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sampling = None if arguments.sampled else GREEDY
        path = follow(Path(scratch), arguments.users, arguments.seed, arguments.model, sampling)
    report = tables(path)
    print(json.dumps(report, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def follow(folder: Path, n_users: int, seed: int, model: str | None = None, sampling: Row | None = GREEDY) -> Followed:
    """Run the quickstart's job on generated users up to what is known of them, then write by every method."""
    write_sample(LocalFolder(folder / "sample"), n_users, seed)
    settings = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"dataset": str(folder / "sample"), "root": str(folder / "results"), "name": "path"}
    if model is not None:
        settings["models"]["llm"]["id"] = model
    if sampling is not None:
        settings["sampling"] = sampling
    (folder / "path.yaml").write_text(yaml.safe_dump(settings))
    job = Job.open(folder / "path.yaml")
    job.run(until="contexts")
    known = job.table("contexts").to_pylist()
    truth = {row["user_id"]: truth_of(row["user_id"], seed) for row in known}
    comparisons = job.table("comparisons").to_pylist()
    users = [UserContext.from_row(row) for row in known]
    written, mixed = asyncio.run(_ask_in_all_ways(job, users, comparisons, truth))
    return Followed(
        written,
        mixed,
        {row["user_id"]: row["reference"] for row in known},
        truth,
        comparisons,
        job.table("differences").to_pylist(),
        job.table("items").to_pylist(),
        job.config.selection,
    )


def truth_of(user_id: str, seed: int) -> Traits:
    """The traits of a generated user."""
    return traits_of(sample_style(seed, int(user_id.removeprefix("user-"))))


async def _ask_in_all_ways(
    job: Job, contexts: Sequence[UserContext], comparisons: Sequence[Row], truth: Mapping[str, Traits]
) -> tuple[dict[str, dict[str, Written]], list[Mixed]]:
    """What the methods write, and drp with what is known of the next user instead; and what validation keeps."""
    name = job.config.model_of("generator")
    model: Model = job.config.models[name]
    engine = VllmEngine(ModelSpec.of(model, None))
    await engine.start()
    roles = {
        role: RoleSpec(name, Sampling(**job.config.sampling.of(role).model_dump()))
        for role in ("validator", "summarizer", "generator")
    }

    def asker(key: str) -> RowCaller:
        return RowCaller(key, roles, {name: engine}, job.config.sampling.seed)

    async def write_all(method: Method, users: Sequence[UserContext]) -> dict[str, Written]:
        texts = await asyncio.gather(
            *(method_or_fallback(method, user).write(user, asker(user.user_id), PromptPack.load()) for user in users)
        )
        return {user.user_id: text for user, text in zip(users, texts, strict=True)}

    try:
        written = {each: await write_all(METHODS[each], contexts) for each in ("drp", "nonperso", "rag", "intsum")}
        written[OTHERS] = await write_all(METHODS["drp"], with_others(contexts, ("differences",)))
        written[OTHER_USER] = await write_all(METHODS["drp"], with_others(contexts, ("differences", "history")))
        compared = [row for row in comparisons if row["representatives"]]
        validated = (_validate_mixed(row, truth, asker(f"{row['user_id']} {row['item_id']}")) for row in compared)
        return written, await asyncio.gather(*validated)
    finally:
        await engine.close()


async def _validate_mixed(row: Row, truth: Mapping[str, Traits], ask: RowCaller) -> Mixed:
    """Let a list be validated in which false differences stand among the true ones."""
    user, others = truth[row["user_id"]], [truth[other["user_id"]] for other in row["representatives"]]
    true, rng = differing(user, others), Random(f"{row['user_id']} {row['item_id']}")
    noted = noted_differences(true, user, possible_values(EMBEDDED, user), rng)
    reply = await ask("validator", PromptPack.load().validation(row, difference_blocks(noted)))
    return Mixed(row["user_id"], set(noted.items()), _named(parse_features(reply)), set(true.items()))


def with_others(contexts: Sequence[UserContext], columns: Sequence[str]) -> list[UserContext]:
    """Every user who has differences gets these columns of the next one who has."""
    having = [user for user in contexts if user.differences]
    following = {user.user_id: other for user, other in zip(having, having[1:] + having[:1], strict=True)}
    return [
        replace(user, **{name: getattr(following[user.user_id], name) for name in columns})
        if user.user_id in following
        else user
        for user in contexts
    ]


def tables(path: Followed) -> dict[str, Any]:
    """All numbers: by method, by pair of methods, and of the differences."""
    return {
        "users": len(path.truth),
        "methods": {
            method: {name: round(float(np.mean(values)), 4) for name, values in user_scores(path, method).items()}
            for method in path.written
        },
        "pairs": {f"{a} - {b}": {name: vars(each) for name, each in gains(path, a, b).items()} for a, b in PAIRS},
        "differences": differences_table(path),
        "lists with false differences": mixed_table(path),
        "representatives": representatives_table(path),
    }


def user_scores(path: Followed, method: str) -> dict[str, np.ndarray]:
    """ROUGE-1 and the shares of right traits, in the text and in the summary, of every user in user_id order."""
    rouge = rouge_scorer.RougeScorer(["rouge1"])
    users, written = sorted(path.truth), path.written[method]
    texts = [written[user].prediction for user in users]
    scores = {
        "rouge1": [
            rouge.score(path.references[user], text)["rouge1"].fmeasure for user, text in zip(users, texts, strict=True)
        ],
        "traits": [_right(read_traits(text), path.truth[user]) for user, text in zip(users, texts, strict=True)],
        "summary": [_right(named_in(written[user].summary or ""), path.truth[user]) for user in users],
    }
    return {name: np.array(values) for name, values in scores.items()}


def _right(read: Traits, truth: Traits) -> float:
    return sum(read.get(name) == value for name, value in truth.items()) / len(truth)


def gains(path: Followed, method: str, over: str) -> dict[str, Interval]:
    """What a method gains over another one on the same users."""
    one, other = user_scores(path, method), user_scores(path, over)
    return {name: paired_interval(one[name] - other[name]) for name in one}


def paired_interval(differences: np.ndarray) -> Interval:
    """The mean over users, and its 95% interval from draws of users."""
    random = np.random.default_rng(0)
    means = differences[random.integers(len(differences), size=(DRAWS, len(differences)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(round(float(differences.mean()), 4), round(float(low), 4), round(float(high), 4))


def true_differences(path: Followed, row: Row) -> set[tuple[str, str]]:
    """What really sets the user of a comparison apart from its representatives."""
    found = differing(path.truth[row["user_id"]], [path.truth[other] for other in row["representatives"]])
    return set(found.items())


def _named(features: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(feature["name"], feature["description"]) for feature in features}


def differences_table(path: Followed) -> dict[str, Any]:
    """Precision and recall of the differences before and after validation, and the gain in precision by comparison."""
    rows = [row for row in path.differences if row["representatives"] and row["validated"] is not None]
    true = [true_differences(path, row) for row in rows]
    raw = [_named(parse_features(row["extracted"])) for row in rows]
    validated = [_named(row["features"]) for row in rows]
    return {
        "comparisons": len(rows),
        "raw": _precision_and_recall(raw, true),
        "validated": _precision_and_recall(validated, true),
        "gain in precision": vars(precision_gain([row["user_id"] for row in rows], raw, validated, true)),
    }


def mixed_table(path: Followed) -> dict[str, Any]:
    """Precision and recall of lists with false differences, and of what validation keeps of them."""
    users, noted, kept, true = ([getattr(each, name) for each in path.mixed] for name in Mixed.__annotations__)
    return {
        "lists": len(noted),
        "noted": _precision_and_recall(noted, true),
        "kept": _precision_and_recall(kept, true),
        "gain in precision": vars(precision_gain(users, noted, kept, true)),
    }


def precision_gain(of: Sequence[str], raw: Sequence[set], validated: Sequence[set], true: Sequence[set]) -> Interval:
    """How much more precise validated differences are than raw ones: drawn by user (`of`), of all that they name."""
    users = sorted(set(of))
    counts = np.zeros((len(users), 4))
    for user, named, kept, right in zip(of, raw, validated, true, strict=True):
        counts[users.index(user)] += (len(named & right), len(named), len(kept & right), len(kept))
    random = np.random.default_rng(0)
    drawn = counts[random.integers(len(users), size=(DRAWS, len(users)))].sum(axis=1)
    gain = drawn[:, 2] / drawn[:, 3] - drawn[:, 0] / drawn[:, 1]
    total = counts.sum(axis=0)
    low, high = np.percentile(gain, (2.5, 97.5))
    return Interval(round(total[2] / total[3] - total[0] / total[1], 4), round(float(low), 4), round(float(high), 4))


def _precision_and_recall(found: Sequence[set], true: Sequence[set]) -> dict[str, float]:
    right = sum(len(a & b) for a, b in zip(found, true, strict=True))
    n_found, n_true = sum(map(len, found)), sum(map(len, true))
    return {"precision": round(right / max(n_found, 1), 4), "recall": round(right / max(n_true, 1), 4)}


def representatives_table(path: Followed) -> dict[str, Any]:
    """True differences a comparison by K-means representatives, by random ones, and the paired gain of the former."""
    by_kmeans = {(row["user_id"], row["item_id"]): len(true_differences(path, row)) for row in path.differences}
    by_chance = {}
    for item in path.items:
        for pair in compare_item(item, {}, path.selection.model_copy(update={"strategy": "random"})):
            chosen = [other["user_id"] for other in pair["representatives"]]
            row = {"user_id": pair["user_id"], "representatives": chosen}
            by_chance[pair["user_id"], pair["item_id"]] = len(true_differences(path, row))
    gain = paired_interval(np.array([by_kmeans[key] - by_chance[key] for key in sorted(by_kmeans)], dtype=float))
    means = {"kmeans": np.mean(list(by_kmeans.values())), "random": np.mean(list(by_chance.values()))}
    return {**{name: round(float(mean), 4) for name, mean in means.items()}, "kmeans - random": vars(gain)}


if __name__ == "__main__":
    main()
