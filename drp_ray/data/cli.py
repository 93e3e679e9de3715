"""`drp-ray data`: from the forms in which data exists to a dataset that a job accepts."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from inspect import Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from drp_ray.console import failures_reported, say, stopped_by_signals
from drp_ray.errors import BadInput

if TYPE_CHECKING:
    from drp_ray.data.build_options import BuildOptions
    from drp_ray.data.formats import Format
    from drp_ray.data.raw_files import RawFile
    from drp_ray.data.rules import Rules
    from drp_ray.storage.folder import Folder

data_app = typer.Typer(help="Make datasets of raw files, hub sets or tables, and describe them.", no_args_is_help=True)


class ManyValues(TyperCommand):
    """Lets an option that may be repeated take several values at once, as a shell's `*.jsonl.gz` gives them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the option again before every value but its first."""
        repeatable = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        words: list[str] = []
        option = None
        for word in args:
            if word.startswith("--"):
                option = word if word in repeatable else None
            elif option is not None and words[-1] != option:
                words.append(option)
            words.append(word)
        return super().parse_args(ctx, words)


Command = Callable[..., None]


def with_options_of(**groups: type) -> Callable[[Command], Command]:
    """Add the fields of dataclasses to a command as options; it gets an object of each class, under the name given."""

    def add(command: Command) -> Command:
        fields_of = {name: signature(group).parameters for name, group in groups.items()}

        @wraps(command)
        def run(**values: Any) -> None:
            with failures_reported(), stopped_by_signals():
                for name, fields in fields_of.items():
                    values[name] = groups[name](**{field: values.pop(field) for field in fields})
                command(**values)

        own = [parameter for name, parameter in signature(command).parameters.items() if name not in groups]
        options = [*own, *(parameter for fields in fields_of.values() for parameter in fields.values())]
        # Typer reads both.
        run.__signature__ = Signature(options)  # type: ignore[attr-defined]
        run.__annotations__ = {option.name: option.annotation for option in options}
        return run

    return add


Paths = list[str]
Out = Annotated[str, typer.Option(metavar="DIR", help="Where the dataset goes: a folder or s3://BUCKET/PREFIX.")]
MemoryGb = Annotated[float, typer.Option(min=0.1, help="Memory of the database of ids; the rest spills to --scratch.")]
Scratch = Annotated[str | None, typer.Option(metavar="DIR", help="Local disk for the database of ids.")]
NumCpus = Annotated[int | None, typer.Option(min=1, help="CPUs of the Ray that is started here.")]


@dataclass(frozen=True)
class Thresholds:
    """The rules for raw files of every kind."""

    min_review_chars: Annotated[int, typer.Option(min=0, help="Characters that a review needs.")] = 200
    min_item_reviewers: Annotated[int, typer.Option(min=0, help="Reviewers that an item needs.")] = 8
    min_user_reviews: Annotated[int, typer.Option(min=0, help="Reviews that a user needs.")] = 18
    max_user_reviews: Annotated[int, typer.Option(min=1, help="Reviews that a user may have.")] = 500
    holdout: Annotated[
        int,
        typer.Option(
            min=1, help="The last H reviews of a user are inputs: H-2 train, one val, one test; 1: test only."
        ),
    ] = 10
    min_profile_item_reviewers: Annotated[
        int, typer.Option(min=0, help="Reviewers that an item needs among what precedes the inputs.")
    ] = 5
    min_profile_reviews: Annotated[
        int, typer.Option(min=0, help="Such reviews that a user needs before the inputs.")
    ] = 8


@dataclass(frozen=True)
class AmazonThresholds(Thresholds):
    """The rules for Amazon's files: descriptions as well, which Yelp's businesses do not have."""

    min_description_chars: Annotated[
        int, typer.Option(min=0, help="Characters that a description needs; 0: an item needs none.")
    ] = 100
    max_description_chars: Annotated[int, typer.Option(min=0, help="Characters that a description may have.")] = 2000


@dataclass(frozen=True)
class TableOptions:
    """What every build from files can be given besides its input and its rules."""

    max_bad_rows: Annotated[str, typer.Option(metavar="SHARE", help="Rows that may be unreadable: 0.1% or 0.001.")] = (
        "0.1%"
    )
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Use what a gzip file holds that ends too early.")
    ] = False
    memory_gb: MemoryGb = 2.0
    chunk_mb: Annotated[float, typer.Option(min=0.001, help="How much of a file a task reads at once.")] = 32.0
    scratch: Scratch = None
    num_cpus: NumCpus = None


@dataclass(frozen=True)
class RawOptions(TableOptions):
    """The same for builds from raw files, and how many reviews make a part."""

    reviews_per_part: Annotated[int, typer.Option(min=1, help="Reviews of a part of users.")] = 8192


def _build_options(options: TableOptions) -> "BuildOptions":
    from drp_ray.data.build_options import BuildOptions

    values = asdict(options)
    max_bad_rows, chunk_bytes = _share(values.pop("max_bad_rows")), round(values.pop("chunk_mb") * (1 << 20))
    return BuildOptions(max_bad_rows=max_bad_rows, chunk_bytes=chunk_bytes, **values)


def _share(text: str) -> float:
    """A share from "0.1%" or "0.001"."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BadInput(f"--max-bad-rows {text}: a share is needed, such as 0.1% or 0.001")
    return share


@data_app.command(cls=ManyValues)
@with_options_of(thresholds=AmazonThresholds, options=RawOptions)
def amazon(
    thresholds: AmazonThresholds,
    options: RawOptions,
    reviews: Annotated[Paths, typer.Option(metavar="PATH…", help="Files or folders: JSON lines, .gz or Parquet.")],
    meta: Annotated[Paths, typer.Option(metavar="PATH…", help="The items' metadata, likewise.")],
    out: Out,
    item_key: Annotated[
        Literal["asin", "parent_asin"],
        typer.Option(help="What of a review names its item: asin, as published, or the parent of its variants."),
    ] = "asin",
) -> None:
    """Build a dataset from raw Amazon Reviews 2023 files."""
    from drp_ray.data.formats import AMAZON, AMAZON_PARENTS

    raw_format = AMAZON if item_key == "asin" else AMAZON_PARENTS
    _build(raw_format, reviews, meta, out, _rules(thresholds), _build_options(options))


@data_app.command(cls=ManyValues)
@with_options_of(thresholds=Thresholds, options=RawOptions)
def yelp(
    thresholds: Thresholds,
    options: RawOptions,
    reviews: Annotated[Paths, typer.Option(metavar="PATH…", help="yelp_academic_dataset_review.json")],
    business: Annotated[Paths, typer.Option(metavar="PATH…", help="yelp_academic_dataset_business.json")],
    out: Out,
) -> None:
    """Build a dataset from the Yelp Open Dataset: the business's name is the title, there is no description."""
    from drp_ray.data.formats import YELP

    _build(YELP, reviews, business, out, _rules(thresholds), _build_options(options))


def _build(
    raw_format: "Format", reviews: Paths, meta: Paths, out: str, rules: "Rules", options: "BuildOptions"
) -> None:
    from drp_ray.data.from_raw_files import RawBuild, build_from_raw_files

    build = RawBuild(raw_format, _files(reviews), _files(meta), _folder(out), rules, options)
    say(build_from_raw_files(build, say))
    say(f"dataset {build.out.uri}")


@data_app.command()
@with_options_of(options=TableOptions)
def table(
    options: TableOptions,
    users: Annotated[str, typer.Argument(metavar="USERS", help="user_id, profile, target: a file or folder.")],
    items: Annotated[str, typer.Argument(metavar="ITEMS", help="item_id, title, description: likewise.")],
    out: Out,
) -> None:
    """Make a dataset of users and items that exist as such, in Parquet or JSON lines."""
    from drp_ray.data.from_tables import TableBuild, build_from_tables

    build = TableBuild(_files([users]), _files([items]), _folder(out), _build_options(options))
    say(build_from_tables(build, say))
    say(f"dataset {build.out.uri}")


@data_app.command()
def hub(
    source: Annotated[str, typer.Argument(metavar="SET", help="A set of the hub, or a folder with a copy of it.")],
    out: Out,
    config: Annotated[str | None, typer.Option(metavar="NAME", help="The set's configuration, e.g. Books.")] = None,
    meta: Annotated[
        str | None, typer.Option(metavar="SET", help="The set of the items; none where reviews name their item.")
    ] = None,
    meta_config: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its configuration; if not given, the name in --config.")
    ] = None,
    meta_split: Annotated[str | None, typer.Option(metavar="NAME", help="Its split, where it has several.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    revision: Annotated[str | None, typer.Option(help="A revision of the set on the hub.")] = None,
    scratch: Scratch = None,
) -> None:
    """Make a dataset of one that is on the Hugging Face hub, or of a local copy of it."""
    from drp_ray.data.from_hub import HubBuild, HubSource, build_from_hub

    with failures_reported(), stopped_by_signals():
        users = HubSource(source, config, split, revision)
        items = None if meta is None else HubSource(meta, meta_config or config, meta_split, None)
        build = HubBuild(users, items, split, _folder(out), scratch)
        say(build_from_hub(build, say))
        say(f"dataset {build.out.uri}")


@data_app.command()
def describe(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A dataset, or one split of it.")],
    n: Annotated[int, typer.Option(min=1, help="Past reviews that a job retrieves (retrieval.n).")] = 8,
    k: Annotated[int, typer.Option(min=1, help="Representatives that a user is compared with (selection.k).")] = 4,
    query: Annotated[
        str, typer.Option(metavar="FIELDS", help="What a query is made of (retrieval.query).")
    ] = "review_title,item_description",
    near: Annotated[
        float, typer.Option(min=0.1, max=1.0, help="Jaccard index of five-word shingles from which texts are near.")
    ] = 0.7,
    memory_gb: MemoryGb = 2.0,
    scratch: Scratch = None,
    num_cpus: NumCpus = None,
) -> None:
    """Describe a dataset: its figures, what a job will lack in it, and texts that it should not see."""
    from drp_ray.data.coverage import QUERY_FIELDS
    from drp_ray.data.describe import DescribeOptions, describe_dataset
    from drp_ray.storage.folder import check_reachable

    with failures_reported(), stopped_by_signals():
        asked = query.split(",")
        if unknown := [name for name in asked if name not in QUERY_FIELDS]:
            raise BadInput(f"--query {', '.join(unknown)}: known: {', '.join(QUERY_FIELDS)}")
        fields = tuple(field for field in QUERY_FIELDS if field in asked)
        folder = _folder(directory)
        check_reachable(folder)
        parent = _folder(directory.rstrip("/").rpartition("/")[0] or ".")
        options = DescribeOptions(n, k, fields, near, memory_gb, scratch, num_cpus)
        say(describe_dataset(folder, parent, options))


def _rules(thresholds: Thresholds) -> "Rules":
    from pydantic import ValidationError

    from drp_ray.data.rules import Rules

    try:
        return Rules(**asdict(thresholds))
    except ValidationError as error:
        raise BadInput("; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())) from error


def _files(locations: Paths) -> "list[RawFile]":
    from drp_ray.config import s3_options
    from drp_ray.data.raw_files import find_files

    return find_files(locations, s3_options())


def _folder(location: str) -> "Folder":
    from drp_ray.config import s3_options
    from drp_ray.storage.folder import open_folder

    return open_folder(location, s3_options())
