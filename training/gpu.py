"""Gradients on one GPU, where trees of about the same length are padded to one length and worked on together.

Processes make the examples of later steps meanwhile, since a step takes less time than its examples.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.decoder import Decoder
from training.trees import Tree, in_a_row, padded, sight
from training.workers import Grower, Sums

GROUP = 64
"""Trees that are padded to the length of the longest of them."""

STEPS_AHEAD = 8
"""Steps whose examples every process has ready."""


class Groups(Dataset[list[tuple[Tree, int]]]):
    """The examples of every step: groups of trees of one length as rows, each with the number of its trees."""

    def __init__(self, tokenizer_folder: Path, seed: int, trees_per_step: int) -> None:
        self._tokenizer_folder, self._seed, self._n = tokenizer_folder, seed, trees_per_step
        self._grower: Grower | None = None

    def __getitem__(self, step: int) -> list[tuple[Tree, int]]:
        """The groups of a step."""
        torch.set_num_threads(1)
        if self._grower is None:  # in the process that makes the examples
            self._grower = Grower(self._tokenizer_folder, self._seed)
        trees = [self._grower.tree(number) for number in range(step * self._n, (step + 1) * self._n)]
        return grouped(trees)


def grouped(trees: list[Tree]) -> list[tuple[Tree, int]]:
    """Trees in groups of about the same length, every group as one row and the number of its trees."""
    by_length = sorted(trees, key=lambda tree: len(tree.tokens))
    groups = [by_length[start : start + GROUP] for start in range(0, len(by_length), GROUP)]
    return [(in_a_row([padded(tree, len(group[-1].tokens)) for tree in group]), len(group)) for group in groups]


class Gpu:
    """The device that computes the gradients of a network which lies there. It has the interface of `Workers`."""

    def __init__(
        self, decoder: Decoder, tokenizer_folder: Path, seed: int, trees_per_step: int, n_processes: int
    ) -> None:
        self._decoder = decoder
        self._groups = Groups(tokenizer_folder, seed, trees_per_step)
        self._n_processes = n_processes
        self._steps: Iterator[tuple[int, list[tuple[Tree, int]]]] = iter(())
        self.gradients: list[list[Tensor | None]] = [[]]

    def __enter__(self) -> "Gpu":
        return self

    def __exit__(self, *_: Any) -> None:
        self._steps = iter(())

    def sums(self, step: int) -> Sums:
        """Sum losses over the examples of a step; the gradients' sums are then in `gradients`."""
        at, groups = next(self._steps, (-1, []))
        if at != step:
            self._steps = self._from(step)
            _, groups = next(self._steps)
        losses = [self._add_up(*group) for group in groups]
        self.gradients = [[parameter.grad for parameter in self._decoder.parameters()]]
        for parameter in self._decoder.parameters():
            parameter.grad = None
        weight = sum(float(row.weights.sum()) for row, _ in groups)
        n_tokens = sum(int((row.branches >= 0).sum()) for row, _ in groups)
        return Sums(float(torch.stack(losses).sum()), weight, n_tokens)

    def _from(self, step: int) -> Iterator[tuple[int, list[tuple[Tree, int]]]]:
        loader = DataLoader(
            self._groups,
            batch_size=None,
            sampler=range(step, 10**9),
            num_workers=self._n_processes,
            prefetch_factor=STEPS_AHEAD if self._n_processes else None,
        )
        return zip(count(step), loader, strict=False)

    def _add_up(self, row: Tree, n_trees: int) -> Tensor:
        """Add the gradients of a group to those of the parameters; the weighted sum of its losses."""
        device = next(self._decoder.parameters()).device
        row = Tree(*(column.to(device, non_blocking=True) for column in row))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            hidden = self._decoder(row.tokens, row.positions, sight(row.branches.view(n_trees, -1)))
            losses = self._decoder.loss(hidden[row.sources], row.targets)
        loss = (losses * row.weights).sum()
        loss.backward()
        return loss.detach()
