"""Is the profile read? `python -m training.swapped CHECKPOINTS`.

Several users have the same past reviews. Every review is scored with the profile of its user and with that of the
next one; the difference, in nats a review, is what the profile tells the writer that nothing else in the prompt does.
This is quick, since nothing is written.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch

from drp_ray.prompts.prompt import Prompt
from training.decoder import Decoder, Shape
from training.examples import Exchange, World, changed_example, pack
from training.tokenizer import load_tokenizer
from training.train import CHECKPOINT, TOKENIZER
from training.trees import grow, sight
from training.worlds import training_words

SEED = 7


def main() -> None:
    """Read the arguments, and print the mean gain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("--examples", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    state = torch.load(arguments.checkpoints / CHECKPOINT, map_location="cpu")
    decoder = Decoder(Shape(**state["shape"]))
    decoder.load_state_dict(state["decoder"])
    tokenizer = load_tokenizer(arguments.checkpoints / TOKENIZER)
    world = World(training_words())
    gains = torch.cat(
        [
            nats(decoder, tokenizer, swapped(exchanges)) - nats(decoder, tokenizer, exchanges)
            for exchanges in (changed_example(world, Random(f"{SEED} {n}")) for n in range(arguments.examples))
        ]
    )
    error = float(gains.std()) / len(gains) ** 0.5
    print(f"step {state['step']}: {float(gains.mean()):.2f} nats a review (standard error {error:.2f})")


def swapped(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """The same reviews, each asked for with the profile of the next one's user."""
    known = [exchange.prompt.variables for exchange in exchanges if isinstance(exchange.prompt, Prompt)]
    others = [variables["summary"] for variables in (*known[1:], known[0])]
    prompts = [
        pack().personal_review(variables["target"], variables["history"], other)
        for variables, other in zip(known, others, strict=True)
    ]
    return [exchange._replace(prompt=prompt) for exchange, prompt in zip(exchanges, prompts, strict=True)]


@torch.inference_mode()
def nats(decoder: Decoder, tokenizer: object, exchanges: Sequence[Exchange]) -> torch.Tensor:
    """The loss of every reply."""
    trees = [grow(tokenizer, [exchange]) for exchange in exchanges]
    return torch.stack(
        [
            decoder.loss(decoder(tree.tokens, tree.positions, [sight(tree.branches)])[tree.sources], tree.targets).sum()
            for tree in trees
        ]
    )


if __name__ == "__main__":
    main()
