"""The figures of a dataset beside the published ones, as tables."""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from drp_ray.console import Table
from drp_ray.data.rules import Drop
from drp_ray.inputs.dataset import SPLITS, Dataset

WIDTH = 120


class Moments(NamedTuple):
    """How many values, their sum and the sum of their squares: whole numbers, so those of parts add up exactly."""

    size: int = 0
    total: int = 0
    squares: int = 0

    @classmethod
    def of(cls, values: pa.Array) -> "Moments":
        """The moments of an array of integers."""
        numbers = values.cast(pa.int64())
        squares = pc.sum(pc.multiply(numbers, numbers)).as_py()
        return cls(len(numbers), pc.sum(numbers).as_py() or 0, squares or 0)

    def plus(self, other: "Moments") -> "Moments":
        """The moments of both."""
        return Moments(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def mean(self) -> float:
        """The mean; NaN of nothing."""
        return self.total / self.size if self.size else math.nan

    @property
    def sd(self) -> float:
        """The standard deviation of the values themselves (not an estimate from a sample)."""
        return math.sqrt(max(self.squares / self.size - self.mean**2, 0)) if self.size else math.nan

    def __str__(self) -> str:
        return f"{self.mean:,.2f} ± {self.sd:,.2f}" if self.size else ""


class SplitFigures(NamedTuple):
    """A split: its rows, the reviews in their profiles, and the characters of the texts to be written."""

    profile: Moments = Moments()
    output: Moments = Moments()

    @classmethod
    def of(cls, users: pa.Table) -> "SplitFigures":
        """The figures of some users."""
        texts = pc.struct_field(users["target"], "text")
        return cls(Moments.of(pc.list_value_length(users["profile"])), Moments.of(pc.utf8_length(texts)))

    @classmethod
    def sum(cls, parts: Iterable["SplitFigures"]) -> "SplitFigures":
        """The figures of all parts together."""
        profile, output = Moments(), Moments()
        for part in parts:
            profile, output = profile.plus(part.profile), output.plus(part.output)
        return cls(profile, output)

    @classmethod
    def from_json(cls, lists: Sequence[Sequence[int]]) -> "SplitFigures":
        """What `to_json` made."""
        profile, output = lists
        return cls(Moments(*profile), Moments(*output))

    def to_json(self) -> list[list[int]]:
        """Plain lists."""
        return [list(self.profile), list(self.output)]


def figures_of(dataset: Dataset) -> SplitFigures:
    """The figures of a dataset's users, read in pieces."""
    return SplitFigures.sum(SplitFigures.of(dataset.read_users(group)) for group in dataset.row_groups())


class Published(NamedTuple):
    """What the papers report of a category (docs/method.md, "Data"); "" or None where they do not."""

    rows: Mapping[str, int]
    items: int | None
    profile: str = ""
    output: str = ""


PUBLISHED = {
    "Movies_and_TV": Published(
        {"train": 15_400, "val": 1_925, "test": 1_925}, 4_832, "41.11 ± 35.89", "1,704.61 ± 1,751.98"
    ),
    "CDs_and_Vinyl": Published(
        {"train": 14_032, "val": 1_754, "test": 1_754}, 3_801, "38.50 ± 32.36", "1,600.04 ± 1,419.49"
    ),
    "Books": Published({"train": 2_536, "val": 317, "test": 317}, 839, "34.84 ± 22.51", "1,194.90 ± 801.18"),
    "Yelp": Published({"train": 229_944, "val": 28_743, "test": 28_743}, None, "44.06 ± 41.69", "659.71 ± 390.20"),
}


def category_of(names: Iterable[str]) -> str | None:
    """The published category that files, configurations or folders are named after."""
    found = {known for name in names for known in PUBLISHED if re.search(rf"(?i)(?<![a-z]){known}(?![a-z])", name)}
    return found.pop() if len(found) == 1 else None


def figures_table(splits: Mapping[str, SplitFigures], items: int, reviews: int | None, category: str | None) -> Table:
    """The dataset's size, beside the published one where the category is known."""
    published = PUBLISHED.get(category or "")
    rows = published.rows if published else {}
    table = Table("", "here", *([f"published ({category})"] if published else []), title="dataset")

    def add(name: str, here: int | Moments | None, there: int | str | None = None) -> None:
        cells = [_cell(here), _cell(there)] if published else [_cell(here)]
        if any(cells):
            table.add_row(name, *cells)

    present = [(name, splits[name]) for name in SPLITS if name in splits]
    for name, figures in present:
        add(f"{name} rows", figures.profile.size, rows.get(name))
    if "test" in splits:
        add("users", splits["test"].profile.size, rows.get("test"))
    add("items", items, published.items if published else None)
    add("reviews", reviews)
    for name, figures in present:
        of_test = published if name == "test" else None
        add(f"{name} profile, reviews", figures.profile, of_test.profile if of_test else None)
        add(f"{name} output, characters", figures.output, of_test.output if of_test else None)
    return table


def _cell(value: int | Moments | str | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def drops_table(drops: Iterable[Drop]) -> Table:
    """What every rule removed."""
    table = Table("rule", "reviews dropped", "left", title="rules, in order")
    for drop in drops:
        table.add_row(drop.rule, f"{drop.dropped:,}", f"{drop.left:,}")
    return table


def manifest_as_text(manifest: Mapping[str, Any]) -> str:
    """What a manifest of `drp-ray data` says, as tables."""
    splits = {name: SplitFigures.from_json(lists) for name, lists in manifest["splits"].items()}
    tables: list[Table | str] = []
    if manifest["drops"]:
        tables.append(drops_table(Drop(**drop) for drop in manifest["drops"]))
    tables.append(figures_table(splits, manifest["items"], manifest["reviews"], manifest["category"]))
    tables.append(f"Item metadata that came again and was left out: {manifest['duplicate_items']:,}")
    tables += [f"Ends too early, what is there was used: {name}" for name in manifest["truncated"]]
    return as_text(tables)


def as_text(tables: Iterable[Table | str]) -> str:
    """Tables as plain text, the same on every terminal."""
    console = Console(width=WIDTH, force_terminal=False, no_color=True, file=io.StringIO())
    with console.capture() as captured:
        for table in tables:
            console.print(table)
    return captured.get()
