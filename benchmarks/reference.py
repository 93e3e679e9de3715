"""The papers' released procedure, written anew: what a script does that has one user after another in mind.

    python -m benchmarks.reference CONFIGURATION OUT [--share 1] [--parts preparation llm]

* Preparation: for every (user, item) the reviews of the item are embedded and clustered, again for each user.
* Language model: for every rank one blocking call with the comparisons of all users at that rank, and the next rank
  when the last of them has ended; then the validations in the same way, then all summaries, then all reviews.

Retrieval and the order of the work are this module's own; the model of embeddings, K-means with its ties, prompts,
sampling and the reading of replies are the package's, so that both sides do the same mathematics. With a share below 1
only so many of the pairs, drawn with a seed, are prepared; the representatives of the others then come from the file
beside OUT that `against_reference` writes of the job.
"""

import argparse
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from drp_ray.config import Config, Retrieval, Role, Selection
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.llm.replies import parse_features, render_features, says_none, split_marker, strip_thinking
from drp_ray.prompts.control_strings import restored
from drp_ray.prompts.pack import PromptPack
from drp_ray.prompts.prompt import Prompt
from drp_ray.schema import Row
from drp_ray.stages.retrieval import import_bm25s
from drp_ray.stages.strategies.kmeans import kmeans

SEED = 0


@dataclass(frozen=True)
class Clock:
    """A moment or a span: seconds, and CPU seconds of this process with all its threads."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def now(cls) -> "Clock":
        """This moment."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: "Clock") -> "Clock":
        return Clock(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)

    def __sub__(self, other: "Clock") -> "Clock":
        return Clock(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds)


@dataclass(frozen=True)
class Pair:
    """A user and one of the user's items, with one review of every reviewer, by user id."""

    user_id: str
    item_id: str
    own: Row
    reviews: list[Row]

    @property
    def key(self) -> str:
        """The name of the pair in files."""
        return f"{self.user_id} {self.item_id}"


@dataclass
class Case:
    """A user on the way through the procedure: comparisons by rank, and what the models said of them."""

    user: Row
    history: list[Row]
    pairs: list[Pair]
    comparisons: list[Row] = field(default_factory=list)
    differences: list[Row] = field(default_factory=list)
    extracted: dict[int, str] = field(default_factory=dict)
    validated: dict[int, str] = field(default_factory=dict)
    summary: str | None = None
    prediction: str | None = None


class Llm(Protocol):
    """Answers a list of prompts, all before it returns; None for one that does not fit or has an empty answer."""

    def generate(self, role: Role, prompts: Sequence[Prompt]) -> list[str | None]:
        """The replies, in the order of the prompts."""


def load_cases(config: Config) -> tuple[list[Case], dict[str, Row]]:
    """The users to predict for with what is retrieved for each, and the items by id."""
    dataset = Path(config.dataset)
    users = [row for path in sorted(dataset.glob("users/*.parquet")) for row in pq.read_table(path).to_pylist()]
    inside, beside = (sorted(folder.glob("items/*.parquet")) for folder in (dataset, dataset.parent))
    tables = [pq.read_table(path) for path in inside or beside]
    items = {row["item_id"]: row for table in tables for row in table.to_pylist()}
    reviews_of = reviews_by_item(users)
    return [case_of(user, items, reviews_of, config) for user in users[: config.users.limit]], items


def reviews_by_item(users: list[Row]) -> dict[str, list[Row]]:
    """Every item's reviews, the newest of each reviewer, by user id."""
    newest: dict[str, dict[str, Row]] = defaultdict(dict)
    for user in users:
        for review in sorted(user["profile"], key=lambda review: (review["timestamp"], review["text"])):
            newest[review["item_id"]][user["user_id"]] = {**review, "user_id": user["user_id"]}
    return {item: [by_user[name] for name in sorted(by_user)] for item, by_user in newest.items()}


def case_of(user: Row, items: dict[str, Row], reviews_of: dict[str, list[Row]], config: Config) -> Case:
    """What is retrieved for a user: from the whole profile, and from the items with K other reviewers or more."""
    profile = user["profile"]
    newest = {review["item_id"]: review for review in sorted(profile, key=lambda review: review["timestamp"])}
    eligible = [review for review in newest.values() if len(reviews_of[review["item_id"]]) > config.selection.k]
    history = most_relevant(profile, user["target"], items, config.retrieval)
    chosen = most_relevant(eligible, user["target"], items, config.retrieval)
    pairs = [Pair(user["user_id"], review["item_id"], review, reviews_of[review["item_id"]]) for review in chosen]
    return Case(user, [with_item(review, items) for review in history], pairs)


def with_item(review: Row, items: dict[str, Row]) -> Row:
    """A review with its item's title and description."""
    item = items.get(review["item_id"], {})
    return {**review, "item_title": item.get("title"), "item_description": item.get("description")}


def most_relevant(reviews: list[Row], target: Row, items: dict[str, Row], settings: Retrieval) -> list[Row]:
    """The N reviews that BM25 finds nearest to the target; ties: the more recent, then the item id."""
    documents = [words(with_item(review, items), settings.document, settings) for review in reviews]
    scores = [0.0] * len(reviews)
    if any(documents):
        index = import_bm25s().BM25(method=settings.variant)
        index.index(documents, show_progress=False)
        query = [word for word in words(with_item(target, items), settings.query, settings) if word in index.vocab_dict]
        scores = index.get_scores(query).tolist() if query else scores
    places = sorted(
        range(len(reviews)),
        key=lambda place: (-scores[place], -reviews[place]["timestamp"], reviews[place]["item_id"]),
    )
    return [reviews[place] for place in places[: settings.n]]


def words(review: Row, fields: Sequence[str], settings: Retrieval) -> list[str]:
    """What BM25 sees of a review."""
    columns = {"review_title": "title", "review_text": "text"}
    text = " ".join(review[columns.get(name, name)] or "" for name in fields)
    return (text.lower() if settings.lowercase else text).split()


def drawn(cases: list[Case], share: float) -> list[Pair]:
    """A share of all pairs, drawn with a seed."""
    pairs = [pair for case in cases for pair in case.pairs]
    return random.Random(SEED).sample(pairs, max(1, round(share * len(pairs))))


def represent(pair: Pair, model: Any, settings: Selection) -> tuple[list[Row], Clock]:
    """Embed all reviews of the item and cluster them; the representatives, and what the embedding took."""
    began = Clock.now()
    texts = [review["text"] for review in pair.reviews]
    vectors = dict(zip(texts, model.encode(texts, show_progress_bar=False), strict=True))
    embedding = Clock.now() - began
    place = next(place for place, review in enumerate(pair.reviews) if review["user_id"] == pair.user_id)
    named = [{**review, "text_id": review["text"]} for review in pair.reviews]
    chosen = kmeans(pair.item_id, named, vectors, settings)(place)
    return [pair.reviews[one.position] for one in chosen.representatives], embedding


def write_all(cases: list[Case], llm: Llm, prompts: PromptPack, config: Config) -> None:
    """Rank by rank the extractions, then the validations, then the summaries, then the reviews."""
    ranks = range(max((len(case.comparisons) for case in cases), default=0))
    for rank in ranks:
        compared = [case for case in cases if rank < len(case.comparisons)]
        dimensions = config.differences.dimensions
        asked = [prompts.open_extraction(case.comparisons[rank], dimensions) for case in compared]
        keep(compared, rank, "extracted", llm.generate("extractor", asked))
    for rank in ranks:
        compared = [case for case in cases if rank in case.extracted]
        asked = [prompts.validation(case.comparisons[rank], case.extracted[rank]) for case in compared]
        keep(compared, rank, "validated", llm.generate("validator", asked))
    for case in cases:
        case.differences = differences_of(case)
    summarized = [case for case in cases if case.history]
    asked = [prompts.profile_summary(case.history, case.differences) for case in summarized]
    for case, reply in zip(summarized, llm.generate("summarizer", asked), strict=True):
        case.summary = reply and split_marker(reply, "Summary")[1]
    asked = [prompts.personal_review(case.user["target"], case.history, case.summary) for case in cases]
    for case, reply in zip(cases, llm.generate("generator", asked), strict=True):
        case.prediction = reply and split_marker(reply, "Review")[1]


def keep(cases: list[Case], rank: int, kind: str, replies: list[str | None]) -> None:
    """Note the replies of one rank; a comparison without one goes no further."""
    for case, reply in zip(cases, replies, strict=True):
        if reply:
            getattr(case, kind)[rank] = reply


def differences_of(case: Case) -> list[Row]:
    """What the summarizer reads: the features of every validation, or its text where none can be read."""
    found = list[Row]()
    for rank, text in sorted(case.validated.items()):
        features = parse_features(text)
        if features or not says_none(text):
            title = case.comparisons[rank]["title"]
            found.append({"item_title": title, "text": render_features(features) if features else text})
    return found


def set_comparisons(cases: list[Case], chosen: dict[str, list[str]], items: dict[str, Row]) -> None:
    """Give every case its comparisons, by the representatives' user ids."""
    for case in cases:
        for pair in case.pairs:
            by_user = {review["user_id"]: review for review in pair.reviews}
            others = [by_user[name] for name in chosen[pair.key]]
            if others:
                item = items.get(pair.item_id, {})
                case.comparisons.append(
                    {
                        "title": item.get("title"),
                        "description": item.get("description"),
                        "representatives": others,
                        "review": pair.own,
                    }
                )
        case.user["target"] = with_item(case.user["target"], items)


@dataclass
class BlockingVllm:
    """vLLM's own offline class: one call answers all prompts, and returns when the last has ended."""

    config: Config
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        from vllm import LLM, EngineArgs

        from drp_ray.engines.vllm import _engine_args

        spec = ModelSpec.of(self.config.models[self.config.model_of("generator")], None)
        arguments = _engine_args(spec, on_cpu=not spec.gpus)
        defaults = EngineArgs(model=arguments.model)
        changed = {"model"} | {name for name in vars(defaults) if getattr(arguments, name) != getattr(defaults, name)}
        if arguments.enforce_eager:
            os.environ["TORCH_COMPILE_DISABLE"] = "1"  # as drp_ray's engine has it
        self._llm = LLM(**{name: getattr(arguments, name) for name in changed})
        self._limit = self._llm.llm_engine.model_config.max_model_len

    def generate(self, role: Role, prompts: Sequence[Prompt]) -> list[str | None]:
        """One blocking call for all prompts that fit."""
        from drp_ray.engines.vllm import _parameters

        sampling = Sampling(**self.config.sampling.of(role).model_dump())
        fitting = [self._fitting(prompt, self._limit - sampling.max_tokens) for prompt in prompts]
        asked = [messages for messages in fitting if messages]
        outputs = self._llm.chat(asked, _parameters(sampling, honours_seed=False), use_tqdm=False) if asked else []
        for output in outputs:
            self.prompt_tokens += len(output.prompt_token_ids)
            self.cached_tokens += output.num_cached_tokens or 0
            self.tokens += len(output.prompt_token_ids) + len(output.outputs[0].token_ids)
        replies = iter(answer_of(output.outputs[0].text) for output in outputs)
        return [next(replies) if messages else None for messages in fitting]

    def _fitting(self, prompt: Prompt, room: int) -> list[Any] | None:
        shorter: Prompt | None = prompt
        while shorter is not None:
            messages = shorter.messages_for_model()
            # A token is a byte or more, so that most prompts need not be counted.
            if sum(len(message["content"].encode()) + 16 for message in messages) <= room:
                return list(messages)
            tokenizer = self._llm.get_tokenizer()
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            if len(tokenizer.encode(text, add_special_tokens=False)) <= room:
                return list(messages)
            shorter = shorter.shorter()
        return None


def answer_of(reply: str) -> str | None:
    """A reply without its thinking; None where nothing is left."""
    return restored(strip_thinking(reply)[0]) or None


def main() -> None:
    """Run the parts that are asked for, and write what they took and found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--parts", nargs="+", default=["preparation", "llm"], choices=["preparation", "llm"])
    arguments = parser.parse_args()
    config = Config.model_validate(json.loads(arguments.configuration.read_text()))
    began = time.perf_counter()
    cases, items = load_cases(config)
    found: dict[str, Any] = {"retrieval_s": time.perf_counter() - began, "chosen": {}}
    if "preparation" in arguments.parts:
        found |= prepare(cases, config, arguments.share)
    if "llm" in arguments.parts:
        of_job = arguments.out.with_name("of_job.json")
        chosen = {**(json.loads(of_job.read_text()) if of_job.exists() else {}), **found["chosen"]}
        set_comparisons(cases, chosen, items)
        found |= ask(cases, config)
    arguments.out.write_text(json.dumps(found))


def prepare(cases: list[Case], config: Config, share: float) -> dict[str, Any]:
    """Prepare a share of the pairs; the figures, with what the whole would take, and the representatives by pair."""
    from sentence_transformers import SentenceTransformer

    from drp_ray.engines.embedder import locate_model

    began = time.perf_counter()
    model = SentenceTransformer(locate_model(config.embedding), device="cuda" if config.embedding.num_gpus else "cpu")
    model.encode(["warm up"], show_progress_bar=False)
    loading = time.perf_counter() - began
    pairs, chosen, embedding = drawn(cases, share), {}, Clock()
    start = Clock.now()
    for pair in pairs:
        representatives, taken = represent(pair, model, config.selection)
        chosen[pair.key] = [review["user_id"] for review in representatives]
        embedding += taken
    clustering = Clock.now() - start - embedding
    everything = [pair for case in cases for pair in case.pairs]
    return {
        "chosen": chosen,
        "loading_s": loading,
        "pairs": len(pairs),
        "pairs_in_all": len(everything),
        "encodes": sum(len(pair.reviews) for pair in pairs),
        "encodes_in_all": sum(len(pair.reviews) for pair in everything),
        "embedding_s": embedding.seconds,
        "embedding_cpu_s": embedding.cpu_seconds,
        "clustering_s": clustering.seconds,
        "clustering_cpu_s": clustering.cpu_seconds,
    }


def ask(cases: list[Case], config: Config) -> dict[str, Any]:
    """Run the language model's part; its tokens and seconds, the engine's start apart."""
    began = time.perf_counter()
    llm = BlockingVllm(config)
    started = time.perf_counter()
    write_all(cases, llm, PromptPack.load(), config)
    return {
        "engine_start_s": started - began,
        "llm_s": time.perf_counter() - started,
        "tokens": llm.tokens,
        "prompt_tokens": llm.prompt_tokens,
        "cached_tokens": llm.cached_tokens,
        "predictions": {case.user["user_id"]: case.prediction for case in cases},
    }


if __name__ == "__main__":
    main()
