"""Conversations that begin alike, as one row of tokens: the common beginning once, then every conversation's rest."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.examples import Exchange
from training.tokenizer import encode

REPLY_WEIGHTS = {"extract": 3.0, "validate": 3.0, "describe": 2.0, "summarize": 2.0, "summarize differences": 2.0}
"""Replies that are short and hard count more than reviews, which count 1. Prompts are read, not learned by heart."""

BEGINNING_WEIGHT = 8.0
"""The first token of a sentence in a review: it decides what comes, and with it tone, length, order and closing."""

SENTENCE_ENDS = (".", "!", "]:")


class Tree(NamedTuple):
    """A row of tokens, which of them see each other, and how much each counts when it is predicted."""

    tokens: Tensor
    positions: Tensor
    branches: Tensor
    sources: Tensor
    targets: Tensor
    weights: Tensor


def grow(tokenizer: Any, exchanges: Sequence[Exchange]) -> Tree:
    """Put conversations together. The tokens at `sources` predict `targets`."""
    rows = [encode(tokenizer, exchange) for exchange in exchanges]
    shared = _shared_length([tokens for tokens, _ in rows])
    shared = min(shared, *(reply_at - 1 for _, reply_at in rows))
    tokens, positions, branches = list(rows[0][0][:shared]), list(range(shared)), [0] * shared
    sources: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for number, (exchange, (row, reply_at)) in enumerate(zip(exchanges, rows, strict=True), start=1):
        offset = len(tokens) - shared
        sources += (place - 1 + offset for place in range(reply_at, len(row)))
        targets += row[reply_at:]
        weights += _weights(tokenizer, exchange.job, row[reply_at:])
        tokens += row[shared:]
        positions += range(shared, len(row))
        branches += [number] * (len(row) - shared)
    return Tree(
        torch.tensor(tokens),
        torch.tensor(positions),
        torch.tensor(branches),
        torch.tensor(sources),
        torch.tensor(targets),
        torch.tensor(weights),
    )


def _shared_length(rows: Sequence[Sequence[int]]) -> int:
    return next((n for n, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), min(map(len, rows)))


def _weights(tokenizer: Any, job: str, reply: Sequence[int]) -> list[float]:
    """How much every token of a reply counts."""
    if job in REPLY_WEIGHTS:
        return [REPLY_WEIGHTS[job]] * len(reply)
    before = [tokenizer.decode([token]) for token in reply[:-1]]
    return [1.0, *(BEGINNING_WEIGHT if text.endswith(SENTENCE_ENDS) else 1.0 for text in before)]


def sight(branches: Tensor) -> Tensor:
    """Which tokens see which (… × n × n): what precedes them in the shared beginning and in their own branch."""
    of_key, of_query = branches.unsqueeze(-2), branches.unsqueeze(-1)
    return ((of_key == 0) | (of_key == of_query)).tril()


def in_a_row(trees: Sequence[Tree]) -> Tree:
    """Several trees as one row; `sight` is for each of them alone."""
    starts = list(accumulate((len(tree.tokens) for tree in trees), initial=0))
    sources = [tree.sources + start for tree, start in zip(trees, starts, strict=False)]
    tokens, positions, branches, _, targets, weights = (torch.cat(column) for column in zip(*trees, strict=True))
    return Tree(tokens, positions, branches, torch.cat(sources), targets, weights)


def padded(tree: Tree, length: int) -> Tree:
    """The tree with tokens after it that nobody sees and that predict nothing."""
    n = length - len(tree.tokens)
    tokens, positions = functional.pad(tree.tokens, (0, n)), functional.pad(tree.positions, (0, n))
    return tree._replace(tokens=tokens, positions=positions, branches=functional.pad(tree.branches, (0, n), value=-1))
