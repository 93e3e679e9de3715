"""What a barrier after every rank costs on an engine that runs so many sequences at once: a simulation.

    python -m benchmarks.barriers [--seats 256] [--median 500] [--spread 0.7] [--longest 4096]

The engine gives every sequence that it runs one token a step, and a step takes as long however many there are, which is
nearly so for a large model whose weights have to be read for every step. Reading prompts costs nothing here, so the
figures are bounds. Lengths of replies are lognormal, as those of reasoning models are, with a limit. The papers'
procedure asks for one rank of all users and waits for the last reply; then the validations likewise. The job lets every
row go on with its validation when its extraction has ended, before rows that wait. Summaries and reviews are left out:
one waits for the other on both sides.
"""

import argparse
import heapq
import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.record import RESULTS, write_result

RANKS = 8
USERS = {
    "Books": 317,
    "CDs & Vinyl": 1_754,
    "Movies & TV": 1_925,
    "Yelp, a hundred": 100,
    "Yelp, one of 64 replicas": 449,
    "Yelp, all": 28_743,
}
"""Users of the published test sets; papers and their code also run samples of a hundred."""

Row = tuple[int, int]
"""The lengths of a row's two replies, in tokens."""


def main() -> None:
    """Print a line a dataset, and keep the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seats", type=int, default=256)
    parser.add_argument("--median", type=float, default=500)
    parser.add_argument("--spread", type=float, default=0.7)
    parser.add_argument("--longest", type=int, default=4_096)
    parser.add_argument("--out", default=RESULTS / "barriers.json")
    arguments = parser.parse_args()
    found = {}
    for name, users in USERS.items():
        ratios = []
        for seed in range(1 if users > 10_000 else 3):
            rows = list(drawn(users * RANKS, arguments, seed))
            ratios.append(steps_with_barriers(rows, users, arguments.seats) / steps_in_a_stream(rows, arguments.seats))
        found[name] = statistics.median(ratios)
        print(f"{name}: {found[name]:.2f} times the tokens a second", flush=True)
    settings = {key: getattr(arguments, key) for key in ("seats", "median", "spread", "longest")}
    write_result(arguments.out, {**settings, "ratios": found})


def drawn(count: int, arguments: argparse.Namespace, seed: int) -> Iterator[Row]:
    """Rows with lengths of their two replies."""
    lengths = np.random.default_rng(seed).lognormal(np.log(arguments.median), arguments.spread, (count, 2))
    yield from map(tuple, np.clip(lengths, 1, arguments.longest).astype(int).tolist())


def steps_with_barriers(rows: Sequence[Row], users: int, seats: int) -> int:
    """Steps of the papers' procedure: the extractions rank by rank, then the validations rank by rank."""
    ranks = [rows[start : start + users] for start in range(0, len(rows), users)]
    return sum(steps_in_a_stream([(row[call], 0) for row in rank], seats) for call in range(2) for rank in ranks)


def steps_in_a_stream(rows: Sequence[Row], seats: int) -> int:
    """Steps until all replies of all rows have ended, where a freed seat is taken at once and keeps its row."""
    running: list[int] = []
    for first, second in rows:
        began = heapq.heappop(running) if len(running) == seats else 0
        heapq.heappush(running, began + first + second)
    return max(running, default=0)


if __name__ == "__main__":
    main()
