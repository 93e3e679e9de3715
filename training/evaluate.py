"""Score a model on examples that it never saw: `python -m training.evaluate FOLDER [--words held-back]`.

FOLDER is what `training.export` or `drp-ray tiny-model` wrote. Four worlds can be asked for: `new` has the words of
the training under another seed, `sample` those of the embedded sample, `held-back` names, companions, stories and
closing phrases that no training text held, and `invented` names that nobody knows.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from drp_ray.data.sample_words import EMBEDDED
from drp_ray.llm.replies import parse_features, says_none, split_marker
from training.examples import (
    Exchange,
    World,
    changed_example,
    comparison_example,
    history_example,
    strangers_example,
)
from training.reading import read_traits
from training.traits import Traits
from training.worlds import held_back_words, training_words

SEED = 7
BATCH = 32
LONGEST_REPLY = 256
MARKERS = {"summarize": "Summary", "write": "Review"}
WORLDS = {
    "new": lambda: World(training_words()),
    "sample": lambda: World(EMBEDDED, with_invented_names=False),
    "held-back": lambda: World(held_back_words(), with_invented_names=False),
}


def main() -> None:
    """Read the arguments, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--words", choices=WORLDS, default="new")
    parser.add_argument("--examples", type=int, default=100, help="of each kind")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--show", type=int, default=0, help="print so many replies of each job")
    arguments = parser.parse_args()
    exchanges = examples(WORLDS[arguments.words](), arguments.examples)
    replies = Writer(arguments.folder).replies(exchanges, arguments.temperature)
    for job, number in [(job, n) for job in dict.fromkeys(e.job for e in exchanges) for n in range(arguments.show)]:
        exchange, reply = [pair for pair in zip(exchanges, replies, strict=True) if pair[0].job == job][number]
        print(f"\n=== {job}\n--- wanted\n{exchange.reply}\n--- written\n{reply}")
    print(json.dumps(scores(exchanges, replies), indent=1))


def examples(world: World, n: int) -> list[Exchange]:
    """Conversations of every kind that the training did not hold: another seed."""
    rng = Random(f"evaluation {SEED}")
    made: list[Exchange] = []
    for _ in range(n):
        made += comparison_example(world, rng)[:2]
        made += {exchange.job: exchange for exchange in history_example(world, rng)}.values()
        made += changed_example(world, rng)[:1]
    for _ in range(n // 2):
        made += strangers_example(world, rng)[1:4]
    return made


class Writer:
    """A model that transformers loads."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
        self.model.generation_config.top_p = self.model.generation_config.top_k = None

    def replies(self, exchanges: Sequence[Exchange], temperature: float = 0.0) -> list[str]:
        """What the model replies; a reply that did not end has no end token at its end."""
        torch.manual_seed(SEED)
        prompts = [self._prompt(exchange) for exchange in exchanges]
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        replies = [""] * len(prompts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            for place, reply in zip(
                places, self._batch([prompts[place] for place in places], temperature), strict=True
            ):
                replies[place] = reply
        return replies

    def _prompt(self, exchange: Exchange) -> str:
        text: str = self.tokenizer.apply_chat_template(
            exchange.prompt.messages(), tokenize=False, add_generation_prompt=True
        )
        return text

    @torch.inference_mode()
    def _batch(self, prompts: Sequence[str], temperature: float) -> list[str]:
        encoded = self.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        drawn = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        output = self.model.generate(
            encoded.input_ids, attention_mask=encoded.attention_mask, max_new_tokens=LONGEST_REPLY, **drawn
        )
        texts = self.tokenizer.batch_decode(output[:, encoded.input_ids.shape[1] :])
        return [text.replace(str(self.tokenizer.pad_token), "") for text in texts]


def scores(exchanges: Sequence[Exchange], replies: Sequence[str]) -> dict[str, Any]:
    """Every job's share of replies in form and exactly as wanted, and how true what they say is."""
    by_job: dict[str, list[tuple[Exchange, str]]] = defaultdict(list)
    for exchange, reply in zip(exchanges, replies, strict=True):
        by_job[exchange.job].append((exchange, reply))
    return {job: _job_scores(job, pairs) for job, pairs in by_job.items()}


def _job_scores(job: str, pairs: Sequence[tuple[Exchange, str]]) -> dict[str, Any]:
    texts = [reply.removesuffix("<|im_end|>").strip() for _, reply in pairs]
    ended = [reply.endswith("<|im_end|>") for _, reply in pairs]
    in_form = [end and is_in_form(job, text) for end, text in zip(ended, texts, strict=True)]
    wanted = [exchange.reply for exchange, _ in pairs]
    found = {"n": len(pairs), "in form": share(in_form)}
    if job in ("extract", "validate"):
        return found | precision_and_recall(
            [(named(text), named(reply)) for text, reply in zip(texts, wanted, strict=True)]
        )
    if job.startswith("summarize"):
        sentences = [(_sentences(text), _sentences(reply)) for text, reply in zip(texts, wanted, strict=True)]
        return found | precision_and_recall(sentences)
    read = [(read_traits(_body(text)), read_traits(_body(reply))) for text, reply in zip(texts, wanted, strict=True)]
    return found | {"traits": agreement(read)}


def is_in_form(job: str, text: str) -> bool:
    """Whether the package reads the reply as what it ought to be."""
    if job in ("extract", "validate"):
        return says_none(text) or bool(parse_features(text))
    marker = MARKERS[job.split()[0]]
    before, rest = split_marker(text, marker)
    return text.startswith(f"[{marker}]:") and not before and bool(rest)


def named(text: str) -> set[tuple[str, str]]:
    """The traits and values that blocks of differences name."""
    return {(feature["name"], feature["description"]) for feature in parse_features(text)}


def _sentences(text: str) -> set[tuple[str, str]]:
    pairs = (sentence.partition(": ") for sentence in _body(text).split(". "))
    return {(name, value.rstrip(".")) for name, colon, value in pairs if colon}


def _body(text: str) -> str:
    return text.partition("]:")[2].strip() or text


def precision_and_recall(pairs: Iterable[tuple[set[Any], set[Any]]]) -> dict[str, float]:
    """Over all that was named and all that should have been."""
    pairs = list(pairs)
    right = sum(len(found & wanted) for found, wanted in pairs)
    n_found, n_wanted = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {"precision": _ratio(right, n_found), "recall": _ratio(right, n_wanted)}


def agreement(pairs: Sequence[tuple[Traits, Traits]]) -> Mapping[str, float]:
    """The share of texts that agree in each trait, and of all traits in all texts."""
    equal = Counter(name for written, wanted in pairs for name in wanted if written[name] == wanted[name])
    by_trait = {name: _ratio(equal[name], len(pairs)) for name in pairs[0][1]}
    return {**by_trait, "all": _ratio(sum(equal.values()), len(pairs) * len(by_trait))}


def share(values: Sequence[bool]) -> float:
    """The share that is true."""
    return _ratio(sum(values), len(values))


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


if __name__ == "__main__":
    main()
