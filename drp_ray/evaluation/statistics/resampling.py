"""Sums of columns over users who are drawn again and again, and over users whose two runs are swapped at random.

Only sums are kept of each draw, so memory does not grow with the number of draws times users. What is drawn depends on
the number of users, the number of draws and the seed alone: everything that is summed in one call shares its draws.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
"""Rows are users (or draws), columns are what is summed."""

Seed = int | Sequence[int]

NUMBERS_AT_ONCE = 2**22
"""How many counts or swaps are held at a time: 32 MB."""

EXACT_UP_TO = 14
"""Users up to whom every one of the 2^n swaps is looked at, instead of a random sample of them."""


def bootstrap_sums(columns: Matrix, draws: int, seed: Seed) -> Matrix:
    """Sum the columns over `draws` draws of as many rows as there are, with replacement: a row a draw."""
    random = np.random.default_rng(seed)
    sums = [_counts(random, size, len(columns)) @ columns for size in chunks(draws, len(columns))]
    return np.concatenate(sums)


def _counts(random: np.random.Generator, draws: int, rows: int) -> Matrix:
    """How often each row is drawn: multinomial counts."""
    drawn = random.integers(rows, size=(draws, rows))
    drawn += rows * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * rows).reshape(draws, rows).astype(np.float64)


def is_exact(users: int) -> bool:
    """Whether `swap_sums` looks at every swap."""
    return users <= EXACT_UP_TO


def swap_sums(differences: Matrix, swaps: int, seed: Seed) -> Matrix:
    """Sum the differences a - b over the users who keep their runs, while those of all others are swapped.

    Each user is swapped with probability one half. With few users there is a row for each of the 2^n ways to swap,
    whatever `swaps` says, and the first row swaps everybody.
    """
    users = len(differences)
    if is_exact(users):
        ways = np.arange(2**users)[:, None] >> np.arange(users)[None, :]
        return np.asarray((ways & 1).astype(np.float64) @ differences)
    random = np.random.default_rng(seed)
    return np.concatenate([_kept(random, size, users) @ differences for size in chunks(swaps, users)])


def _kept(random: np.random.Generator, swaps: int, users: int) -> Matrix:
    """1 for a user who keeps the runs, 0 for one whose runs are swapped, each by a fair coin."""
    coins = random.integers(2**64, size=(swaps, math.ceil(users / 64)), dtype=np.uint64)
    return np.unpackbits(coins.view(np.uint8), axis=1, count=users).astype(np.float64)


def chunks(total: int, width: int) -> Iterator[int]:
    """Sizes that add up to `total`, so that rows of `width` numbers fit `NUMBERS_AT_ONCE`."""
    size = max(NUMBERS_AT_ONCE // max(width, 1), 1)
    for start in range(0, total, size):
        yield min(size, total - start)
