"""Gradients by several processes that share the network: on a busy machine threads would wait for each other.

Each process takes its share of a step's examples and adds up unscaled gradients in memory that all of them see.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing import get_context

from training.decoder import Decoder
from training.examples import World, example
from training.tokenizer import load_tokenizer, without_phrases
from training.trees import Tree, grow, in_a_row, sight
from training.worlds import training_words

WORDWISE_EVERY = 16
"""One example of so many has no phrases as single tokens, so that words are known one by one as well."""


class Sums(NamedTuple):
    """What a share of a step's examples adds up to."""

    loss: float
    weight: float
    tokens: int


class Grower:
    """Makes trees of examples by their number."""

    def __init__(self, tokenizer_folder: Path, seed: int) -> None:
        self.world, self.seed = World(training_words()), seed
        self.tokenizer = load_tokenizer(tokenizer_folder)
        self.by_words = without_phrases(self.tokenizer, self.world)

    def tree(self, number: int) -> Tree:
        """The tree of an example."""
        tokenizer = self.by_words if number % WORDWISE_EVERY == 0 else self.tokenizer
        return grow(tokenizer, example(number, self.seed, self.world))


class Workers:
    """Processes that compute the gradients of a network whose parameters they share."""

    def __init__(self, decoder: Decoder, tokenizer_folder: Path, seed: int, trees_per_step: int, n: int) -> None:
        self._trees_per_step = trees_per_step
        decoder.share_memory()
        self.gradients = [[torch.zeros_like(each).share_memory_() for each in decoder.parameters()] for _ in range(n)]
        arguments = (decoder, self.gradients, tokenizer_folder, seed)
        self._pool = ProcessPoolExecutor(n, get_context("spawn"), _begin, arguments)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: Any) -> None:
        self._pool.shutdown()

    def sums(self, step: int) -> Sums:
        """Sum losses over the examples of a step; the gradients' sums are then in `gradients`, one list a share."""
        n = len(self.gradients)
        numbers = range(step * self._trees_per_step, (step + 1) * self._trees_per_step)
        shares = list(self._pool.map(_add_up, [(place, numbers[place::n]) for place in range(n)]))
        return Sums(*(sum(column) for column in zip(*shares, strict=True)))


_state: dict[str, Any] = {}


def _begin(decoder: Decoder, gradients: list[list[Tensor]], tokenizer_folder: Path, seed: int) -> None:
    torch.set_num_threads(1)
    end_with_parent()
    _state.update(decoder=decoder, gradients=gradients, grower=Grower(tokenizer_folder, seed))


def end_with_parent() -> None:
    """End this process when the one that started it is gone: a trainer that was killed ends no worker itself."""
    Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _add_up(share: tuple[int, range]) -> Sums:
    place, numbers = share
    return add_up([_state["grower"].tree(number) for number in numbers], _state["decoder"], _state["gradients"][place])


def add_up(trees: list[Tree], decoder: Decoder, gradients: list[Tensor]) -> Sums:
    """Put the gradients of the weighted sum of all losses where they are wanted."""
    row = in_a_row(trees)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = decoder(row.tokens, row.positions, [sight(tree.branches) for tree in trees])
        losses = decoder.loss(hidden[row.sources], row.targets)
    loss = (losses * row.weights).sum()
    for gradient, found in zip(gradients, torch.autograd.grad(loss, list(decoder.parameters())), strict=True):
        gradient.copy_(found)
    return Sums(float(loss.detach()), float(row.weights.sum()), len(row.tokens))
