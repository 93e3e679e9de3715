"""Do intervals and tests keep what they promise, and how long do they take? On simulated users whose truth is known.

    python -m benchmarks.statistics [--simulations 1000] [--draws 1000] [--users 150]

A population of users has a mean measure and BLEU's statistics for two runs of two executions each, so the true
difference is known. Samples of it are drawn, and each is compared as `drp-ray compare` does:

* covered: the share of samples whose 95% interval holds the true difference (should be 95%);
* false positives: with each user's runs swapped by a coin, so that nothing differs, the share of samples with a p below
  5% (should be 5%);
* power: the same share where the true difference is the smallest effect that such a sample can show (should be 80%);
* by item: users of one item differ alike, and items are drawn: the plain interval covers too rarely, the one by item
  should not.

At the end the time for 10,000 draws of 28,743 users (Yelp's test set) for 8 runs is measured.
"""

import argparse
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import Measure, open_metrics
from drp_ray.evaluation.statistics import Executions, Measured, Pair, Resampling, compare_runs, numbers_of_executions

MEAN, CORPUS = "rouge1", "bleu"
ITEMS, USERS_OF_AN_ITEM = 2_000, 4
YELP_USERS, YELP_ITEMS, YELP_RUNS = 28_743, 15_000, 8
Shares = dict[str, float]


@dataclass(frozen=True)
class Population:
    """All users there are: what two runs, `a` and `b`, have of each; the four users of an item are neighbours."""

    measured: tuple[Measured, ...]

    @property
    def size(self) -> int:
        """How many users there are."""
        return len(self.measured[0].runs["a"][0])

    def truth(self) -> dict[str, float]:
        """The true difference a - b of each measure."""
        return {each.measure.name: number(each, "a") - number(each, "b") for each in self.measured}

    def sample(self, users: NDArray[np.int64]) -> list[Measured]:
        """What is measured of some users."""
        return [
            replace(each, runs={run: [matrix[users] for matrix in matrices] for run, matrices in each.runs.items()})
            for each in self.measured
        ]


def number(measured: Measured, run: str) -> float:
    """What a run reports: the mean over its executions."""
    return float(np.mean(numbers_of_executions(measured.measure, measured.runs[run])))


def metrics() -> dict[str, Measure]:
    """The two metrics of the simulations."""
    return {each.name: each for each in open_metrics(Evaluation(), Path()) if each.name in (MEAN, CORPUS)}


def population(seed: int, effect: float = 0.01, item_spread: float = 0.0) -> Population:
    """Users who differ in how well they can be written for; run `a` is better by `effect`, for some items by more."""
    random = np.random.default_rng(seed)
    users = ITEMS * USERS_OF_AN_ITEM
    skill = random.beta(4, 12, users)
    of_item = np.repeat(random.normal(0, item_spread, ITEMS) if item_spread else np.zeros(ITEMS), USERS_OF_AN_ITEM)
    lengths = np.maximum(random.lognormal(4.5, 0.8, users), 5).astype(np.int64)
    quality = {"a": skill + effect + of_item, "b": skill}
    found = metrics()
    return Population(
        (
            Measured(found[MEAN], {run: _values(random, each) for run, each in quality.items()}),
            Measured(found[CORPUS], {run: _statistics(random, each, lengths) for run, each in quality.items()}),
        )
    )


def _values(random: np.random.Generator, quality: NDArray[np.float64]) -> Executions:
    shape = len(quality)
    return [np.column_stack([np.ones(shape), quality + random.gamma(2, 0.03, shape) - 0.06]) for _ in range(2)]


def _statistics(random: np.random.Generator, quality: NDArray[np.float64], lengths: NDArray[np.int64]) -> Executions:
    """Matches of 1- to 4-grams, ever rarer, their totals, and lengths of about nine tenths of the reference's."""
    executions = []
    for _ in range(2):
        written = np.maximum((lengths * random.normal(0.9, 0.15, len(lengths))).astype(np.int64), 4)
        totals = [np.maximum(written - order, 0) for order in range(4)]
        chance = np.clip(quality + random.normal(0, 0.05, len(quality)), 0.02, 0.9)
        counts = [random.binomial(total, chance ** (1 + order)) for order, total in enumerate(totals)]
        columns = [np.ones(len(lengths)), np.zeros(len(lengths)), *counts, *totals, written, lengths]
        executions.append(np.column_stack(columns).astype(np.float64))
    return executions


def swapped_by_coin(measured: list[Measured], random: np.random.Generator) -> list[Measured]:
    """Each user's two runs change places by a fair coin, all measures and executions together."""
    coins = random.integers(2, size=(len(measured[0].runs["a"][0]), 1)).astype(bool)
    return [
        replace(
            each,
            runs={
                run: [
                    np.where(coins, theirs, own) for own, theirs in zip(each.runs[run], each.runs[other], strict=True)
                ]
                for run, other in (("a", "b"), ("b", "a"))
            },
        )
        for each in measured
    ]


def compared(
    measured: list[Measured], draws: int, seed: int, items: NDArray[np.int64] | None = None
) -> dict[str, Pair]:
    """The pair of the two runs, by measure."""
    items = np.arange(len(measured[0].runs["a"][0])) if items is None else items
    return {name: pairs[0] for name, pairs in compare_runs(measured, items, Resampling(draws, seed)).items()}


def coverage(simulations: int, draws: int, users: int, seed: int = 1) -> Shares:
    """How often the interval holds the true difference, by measure."""
    people, random = population(seed), np.random.default_rng(seed)
    truth, held = people.truth(), dict.fromkeys((MEAN, CORPUS), 0)
    for simulation in range(simulations):
        for name, pair in compared(people.sample(random.integers(people.size, size=users)), draws, simulation).items():
            held[name] += pair.ci95[0] <= truth[name] <= pair.ci95[1]
    return {name: count / simulations for name, count in held.items()}


def false_positives(simulations: int, draws: int, users: int, seed: int = 2) -> Shares:
    """How often p is below 5% where nothing differs, by measure; and for means that of the t-test."""
    people, random = population(seed), np.random.default_rng(seed)
    found = dict.fromkeys((MEAN, CORPUS, "t-test"), 0)
    for simulation in range(simulations):
        sample = swapped_by_coin(people.sample(random.integers(people.size, size=users)), random)
        pairs = compared(sample, draws, simulation)
        for name, pair in pairs.items():
            found[name] += pair.p_permutation < 0.05
        found["t-test"] += pairs[MEAN].p_t < 0.05
    return {name: count / simulations for name, count in found.items()}


def power(simulations: int, draws: int, users: int, seed: int = 3) -> Shares:
    """How often p is below 5% where the true difference is the smallest effect that one sample says it can show."""
    people, random = population(seed, effect=0.0), np.random.default_rng(seed)
    effect = compared(people.sample(random.integers(people.size, size=users)), draws, seed)[MEAN].smallest_effect
    people, found = population(seed, effect=effect), 0
    for simulation in range(simulations):
        pair = compared(people.sample(random.integers(people.size, size=users)), draws, simulation)[MEAN]
        found += pair.p_permutation < 0.05
    return {MEAN: found / simulations}


def coverage_of_items(simulations: int, draws: int, users: int, seed: int = 4) -> Shares:
    """How often the plain interval and the one by item hold the truth where items are drawn and differ."""
    people, random = population(seed, item_spread=0.05), np.random.default_rng(seed)
    truth, held = people.truth(), dict.fromkeys(("plain", "by item"), 0)
    for simulation in range(simulations):
        items = random.integers(ITEMS, size=users // USERS_OF_AN_ITEM)
        places = (items[:, None] * USERS_OF_AN_ITEM + np.arange(USERS_OF_AN_ITEM)).ravel()
        numbers = np.repeat(np.arange(len(items)), USERS_OF_AN_ITEM)
        pair = compared(people.sample(places), draws, simulation, numbers)[MEAN]
        held["plain"] += pair.ci95[0] <= truth[MEAN] <= pair.ci95[1]
        held["by item"] += pair.ci95_by_item[0] <= truth[MEAN] <= pair.ci95_by_item[1]
    return {name: count / simulations for name, count in held.items()}


def time_of_yelp() -> tuple[float, int]:
    """Seconds of a comparison of Yelp's size with all metrics, and how many columns are summed."""
    random = np.random.default_rng(0)
    measured = [
        Measured(
            metric,
            {
                f"run {number}": [np.column_stack([np.ones(YELP_USERS), *random.integers(1, 99, (width, YELP_USERS))])]
                for number in range(YELP_RUNS)
            },
        )
        for metric in open_metrics(Evaluation(), Path())
        for width in [len(metric.columns)]
    ]
    columns = sum(len(each.measure.columns) + 1 for each in measured) * YELP_RUNS
    start = time.perf_counter()
    compare_runs(measured, random.integers(YELP_ITEMS, size=YELP_USERS), Resampling())
    return time.perf_counter() - start, columns


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1_000)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--users", type=int, default=150)
    options = parser.parse_args()
    table = Table("what", "of", "share", title=f"{options.simulations:,} samples of {options.users} users")
    for what in (coverage, false_positives, power, coverage_of_items):
        for of, share in what(options.simulations, options.draws, options.users).items():
            table.add_row(what.__name__.replace("_", " "), of, f"{share:.1%}")
    Console().print(table)
    seconds, columns = time_of_yelp()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{YELP_USERS:,} users, {YELP_RUNS} runs, {columns} columns, 10,000 draws: {seconds:.1f} s, {memory:.2f} GiB")


if __name__ == "__main__":
    main()
