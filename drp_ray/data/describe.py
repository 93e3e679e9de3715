"""`drp-ray data describe`: a dataset in numbers, what a job will lack in it, and what it should not see."""

from collections.abc import Sequence
from dataclasses import dataclass

from drp_ray.config import DocumentField, Retrieval
from drp_ray.console import Table
from drp_ray.data.coverage import CoverageCount, count_coverage
from drp_ray.data.figures import SplitFigures, as_text, category_of, figures_table
from drp_ray.data.layout import read_json
from drp_ray.data.task_runner import on_ray
from drp_ray.data.text_leaks import LEAK_KINDS, TextLeaks, find_text_leaks
from drp_ray.inputs.dataset import SPLITS, Dataset
from drp_ray.inputs.leaks import LeakCounts, count_leaks
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import MANIFEST


@dataclass(frozen=True)
class DescribeOptions:
    """What a job will ask of the dataset: N past reviews, K representatives, the query; and what counts as near."""

    n: int = 8
    k: int = 4
    query: tuple[DocumentField, ...] = Retrieval().query
    near: float = 0.7
    memory_gb: float = 2.0
    scratch: str | None = None
    num_cpus: int | None = None


def describe_dataset(folder: Folder, parent: Folder, options: DescribeOptions) -> str:
    """The figures, the coverage and the leaks of a dataset, or of one split of it, as tables.

    Raises:
        BadInput: there is no dataset, or it is not finished.
    """
    splits = _splits(folder, parent)
    manifest = read_json(folder, MANIFEST) or {}
    category = manifest.get("category") or category_of([folder.uri.rpartition("/")[2]])
    tables: list[Table] = []
    figures: dict[str, SplitFigures] = {}
    with on_ray(options.num_cpus) as runner:
        for name, dataset in splits.items():
            figures[name], leaks = find_text_leaks(runner, dataset, options.near)
            counts = count_coverage(dataset, options.n, options.k, options.query, options.scratch, options.memory_gb)
            n_rows = figures[name].profile.size
            tables.append(_coverage_table(name, counts, leaks, _profile_leaks(dataset), n_rows, options.near))
    items = sum(rows.num_rows for rows in next(iter(splits.values())).read_catalogue())
    return as_text([figures_table(figures, items, manifest.get("reviews"), category), *tables])


def _splits(folder: Folder, parent: Folder) -> dict[str, Dataset]:
    """The splits of a dataset by name; a folder with users is one split, called as it is or "test"."""
    found = {name: folder.at(name) for name in SPLITS if folder.at(name, "users").entries()}
    if found:
        return {name: Dataset.open(split, folder) for name, split in found.items()}
    name = folder.uri.rpartition("/")[2]
    return {name if name in SPLITS else "test": Dataset.open(folder, parent)}


def _profile_leaks(dataset: Dataset) -> LeakCounts:
    """The leaks through users' own profiles, which a job's `users.leaks` is about."""
    return sum((count_leaks(dataset.read_users(group)) for group in dataset.row_groups()), LeakCounts())


def _coverage_table(
    name: str, counts: Sequence[CoverageCount], leaks: TextLeaks, own: LeakCounts, n_rows: int, near: float
) -> Table:
    table = Table(f"{name}: coverage and leakage", "rows", "share", "of", "for example")

    def add(what: str, found: int, of: int, examples: Sequence[str] = ()) -> None:
        share = f"{found / of:.2%}" if of else ""
        table.add_row(what, f"{found:,}", share, f"{of:,}", ", ".join(examples))

    for count in counts:
        add(*count)
    for kind, what in LEAK_KINDS.items():
        measure = f" (Jaccard ≥ {near:g})" if "near" in kind else ""
        add(what + measure, len(leaks.rows.get(kind, ())), n_rows, leaks.users.get(kind, []))
    for what, users, first in own.rows():
        add(what, users, n_rows, [first] if first is not None else [])
    return table
