"""Conversations that begin alike, as one row of tokens: the common beginning once, then every conversation's rest."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.examples import Exchange
from training.tokenizer import encode

PROMPT_WEIGHT = 0.25
REPLY_WEIGHTS = {"extract": 3.0, "validate": 3.0, "summarize": 2.0, "summarize differences": 2.0}
"""Replies that are short and hard count more than reviews, which count 1."""


class Tree(NamedTuple):
    """A row of tokens, which of them see each other, and how much each counts when it is predicted."""

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    sources: Tensor
    targets: Tensor
    weights: Tensor


def grow(tokenizer: Any, exchanges: Sequence[Exchange]) -> Tree:
    """Put conversations together. The tokens at `sources` predict `targets`."""
    rows = [encode(tokenizer, exchange) for exchange in exchanges]
    shared = _shared_length([tokens for tokens, _ in rows])
    shared = min(shared, *(reply_at for _, reply_at in rows))
    tokens, positions, branches = list(rows[0][0][:shared]), list(range(shared)), [0] * shared
    sources, targets, weights = _predictions(tokens, 0, 0, len(tokens), 0.0)
    for number, (exchange, (row, reply_at)) in enumerate(zip(exchanges, rows, strict=True), start=1):
        offset = len(tokens) - shared
        rest = _predictions(row, shared, offset, reply_at, REPLY_WEIGHTS.get(exchange.job, 1.0))
        sources, targets, weights = sources + rest[0], targets + rest[1], weights + rest[2]
        tokens += row[shared:]
        positions += range(shared, len(row))
        branches += [number] * (len(row) - shared)
    return Tree(
        torch.tensor(tokens),
        torch.tensor(positions),
        _mask(torch.tensor(branches)),
        torch.tensor(sources),
        torch.tensor(targets),
        torch.tensor(weights),
    )


def _shared_length(rows: Sequence[Sequence[int]]) -> int:
    return next((n for n, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), min(map(len, rows)))


def _predictions(
    row: Sequence[int], shared: int, offset: int, reply_at: int, reply_weight: float
) -> tuple[list[int], list[int], list[float]]:
    """What the tokens from `shared` on are predicted from; the one before them may be the shared beginning's last."""
    places = range(max(shared, 1), len(row))
    sources = [place - 1 if place == shared else place - 1 + offset for place in places]
    weights = [reply_weight if place >= reply_at else PROMPT_WEIGHT for place in places]
    return sources, [row[place] for place in places], weights


def _mask(branches: Tensor) -> Tensor:
    """A token sees what precedes it in the shared beginning and in its own branch."""
    earlier = torch.ones(len(branches), len(branches), dtype=torch.bool).tril()
    seen = earlier & ((branches[None] == 0) | (branches[None] == branches[:, None]))
    return torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)


def batched(trees: Sequence[Tree]) -> tuple[Tree, list[Tensor]]:
    """Several trees as one row, and their masks."""
    starts = [sum(len(tree.tokens) for tree in trees[:number]) for number in range(len(trees))]
    sources = [tree.sources + start for tree, start in zip(trees, starts, strict=True)]
    columns = [
        torch.cat(column)
        for column in zip(*((t.tokens, t.positions, t.targets, t.weights) for t in trees), strict=True)
    ]
    tokens, positions, targets, weights = columns
    masks = [tree.mask for tree in trees]
    return Tree(tokens, positions, torch.empty(0), torch.cat(sources), targets, weights), masks
