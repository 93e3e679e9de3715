"""A comparison for the eye: a table for each measure, and what is to be said besides."""

from collections.abc import Iterator, Sequence

from drp_ray.console import Table
from drp_ray.job.compare import Document

THRESHOLDS = (0.05, 0.01, 0.001)
"""A p that is written as a number stands on the same side of each as p itself."""

OF_A_PAIR = ("first - this", "95% interval", "by item", "p permutation", "p Holm", "p t-test", "smallest effect")


def tables_of(document: Document) -> Iterator[Table]:
    """A table for each measure that can be compared."""
    some_failed = any(document["users"]["failed"].values())
    for measure in document["metrics"].values():
        if any(run["mean"] is not None for run in measure["runs"].values()):
            yield _table(document["runs"], measure, some_failed)


def _table(names: Sequence[str], measure: Document, some_failed: bool) -> Table:
    columns = ["run", "mean", *(["failures as empty"] if some_failed else []), *OF_A_PAIR]
    table = Table(*columns, title=f"{measure['title']}, {measure['n']:,} users")
    pairs = {pair["b"]: pair for pair in measure["pairs"]}
    for name in names:
        run, pair = measure["runs"][name], pairs.get(name)
        empty = [_score(run["with_failures_as_empty"])] if some_failed else []
        table.add_row(name, _mean(run), *empty, *(_of_pair(pair) if pair else ()))
    return table


def _mean(run: Document) -> str:
    spread = run["sd_over_executions"]
    return _score(run["mean"]) if spread is None else f"{_score(run['mean'])} ± {_score(spread)}"


def _of_pair(pair: Document) -> list[str]:
    return [
        _signed(pair["difference"]),
        _interval(pair["ci95"]),
        _interval(pair["ci95_by_item"]),
        _p(pair["p_permutation"]),
        _p(pair["p_holm"]),
        _p(pair["p_t"]),
        _score(pair["smallest_effect"]),
    ]


def lines_of(document: Document) -> Iterator[str]:
    """Who is compared, what is missing and why, and how the numbers were made."""
    users = document["users"]
    yield f"{users['n']:,} users are ok in all runs; their targets are {users['n_items']:,} items"
    for name, excluded in users["excluded"].items():
        if excluded:
            failed, lost = users["failed"][name], users["lost"][name]
            yield f"{name}: {excluded:,} users are not compared, {failed:,} failed here and {lost:,} elsewhere"
    for measure in document["metrics"].values():
        yield from _notes(measure)
    yield (
        f"intervals from {document['draws']:,} draws of users, or of items with their users; p permutation from swaps "
        f"of the two runs; p Holm corrects for {document['family']}; seed {document['seed']}"
    )


def _notes(measure: Document) -> Iterator[str]:
    if measure["note"]:
        yield measure["note"]
        return
    if measure["missing"]:
        yield f"{measure['title']}: {measure['missing']:,} users without a value in some run are left out"
    yield from (f"{measure['title']} is missing: {run['note']}" for run in measure["runs"].values() if run["note"])
    for pair in measure["pairs"]:
        for number, why in pair["notes"].items():
            if number == "ci95":
                yield f"{measure['title']}, {pair['b']}: {why}"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{_signed(ends[0])} {_signed(ends[1])}"


def _p(value: float | None) -> str:
    return "-" if value is None else written_p(value)


def written_p(value: float) -> str:
    """A p value with four decimals, or one digit where it is tiny; with more where rounding would change a verdict."""
    if value == 0:
        return "< 1e-300"  # A t-test's p that no float can hold.
    decimals, kind = (4, "f") if value >= 0.0001 else (0, "e")
    while True:
        written = f"{value:.{decimals}{kind}}"
        if all((float(written) < threshold) == (value < threshold) for threshold in THRESHOLDS):
            return written
        decimals += 1
