"""`drp-ray data`: from the forms in which data exists to a dataset that a job accepts."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from drp_ray.console import failures_reported, say, stopped_by_signals
from drp_ray.errors import BadInput

if TYPE_CHECKING:
    from drp_ray.data.build import Options
    from drp_ray.data.formats import Format
    from drp_ray.data.rules import Rules
    from drp_ray.storage.folder import S3Options

data_app = typer.Typer(help="Make datasets of raw files, hub sets or tables, and describe them.", no_args_is_help=True)


class ManyValues(TyperCommand):
    """Lets an option that may be repeated take several values at once, as a shell's `*.jsonl.gz` gives them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before every further value."""
        repeatable = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        spelt, option = [], None
        values = 0
        for word in args:
            if word.startswith("--"):
                option, values = (word if word in repeatable else None), 0
            elif option is not None:
                values += 1
                if values > 1:
                    spelt.append(option)
            spelt.append(word)
        return super().parse_args(ctx, spelt)


Paths = list[str]
Out = Annotated[str, typer.Option(metavar="DIR", help="Where the dataset goes: a folder or s3://BUCKET/PREFIX.")]
MinReviewChars = Annotated[int, typer.Option(min=0, help="Characters that a review needs.")]
MinItemReviewers = Annotated[int, typer.Option(min=0, help="Reviewers that an item needs.")]
MinUserReviews = Annotated[int, typer.Option(min=0, help="Reviews that a user needs.")]
MaxUserReviews = Annotated[int, typer.Option(min=1, help="Reviews that a user may have.")]
Holdout = Annotated[
    int,
    typer.Option(min=1, help="The last H reviews of a user are inputs: H-2 train, one val, one test; 1: test only."),
]
MinProfileItemReviewers = Annotated[
    int, typer.Option(min=0, help="Reviewers that an item needs among what precedes the inputs.")
]
MinProfileReviews = Annotated[int, typer.Option(min=0, help="Such reviews that a user needs before the inputs.")]
MaxBadRows = Annotated[str, typer.Option(metavar="SHARE", help="Rows that may be unreadable: 0.1% or 0.001.")]
AllowTruncated = Annotated[
    bool, typer.Option("--allow-truncated", help="Use what a gzip file holds that ends too early.")
]
MemoryGb = Annotated[float, typer.Option(min=0.1, help="Memory of the database of ids; the rest spills to --scratch.")]
ChunkMb = Annotated[float, typer.Option(min=0.001, help="How much of a file a task reads at once.")]
ReviewsPerPart = Annotated[int, typer.Option(min=1, help="Reviews of a part of users.")]
Scratch = Annotated[str | None, typer.Option(metavar="DIR", help="Local disk for the database of ids.")]
NumCpus = Annotated[int | None, typer.Option(min=1, help="CPUs of the Ray that is started here.")]


@data_app.command(cls=ManyValues)
def amazon(
    reviews: Annotated[Paths, typer.Option(metavar="PATH…", help="Files or folders: JSON lines, .gz or Parquet.")],
    meta: Annotated[Paths, typer.Option(metavar="PATH…", help="The items' metadata, likewise.")],
    out: Out,
    min_review_chars: MinReviewChars = 200,
    min_description_chars: Annotated[
        int, typer.Option(min=0, help="Characters that a description needs; 0: an item needs none.")
    ] = 100,
    max_description_chars: Annotated[int, typer.Option(min=0, help="Characters that it may have.")] = 2000,
    min_item_reviewers: MinItemReviewers = 8,
    min_user_reviews: MinUserReviews = 18,
    max_user_reviews: MaxUserReviews = 500,
    holdout: Holdout = 10,
    min_profile_item_reviewers: MinProfileItemReviewers = 5,
    min_profile_reviews: MinProfileReviews = 8,
    max_bad_rows: MaxBadRows = "0.1%",
    allow_truncated: AllowTruncated = False,
    memory_gb: MemoryGb = 2.0,
    chunk_mb: ChunkMb = 32.0,
    reviews_per_part: ReviewsPerPart = 8192,
    scratch: Scratch = None,
    num_cpus: NumCpus = None,
) -> None:
    """Build a dataset from raw Amazon Reviews 2023 files."""
    from drp_ray.data.formats import AMAZON

    with failures_reported(), stopped_by_signals():
        rules = _rules(
            min_review_chars=min_review_chars,
            min_description_chars=min_description_chars,
            max_description_chars=max_description_chars,
            min_item_reviewers=min_item_reviewers,
            min_user_reviews=min_user_reviews,
            max_user_reviews=max_user_reviews,
            holdout=holdout,
            min_profile_item_reviewers=min_profile_item_reviewers,
            min_profile_reviews=min_profile_reviews,
        )
        options = _options(max_bad_rows, allow_truncated, memory_gb, chunk_mb, reviews_per_part, scratch, num_cpus)
        _build(AMAZON, reviews, meta, out, rules, options)


@data_app.command(cls=ManyValues)
def yelp(
    reviews: Annotated[Paths, typer.Option(metavar="PATH…", help="yelp_academic_dataset_review.json")],
    business: Annotated[Paths, typer.Option(metavar="PATH…", help="yelp_academic_dataset_business.json")],
    out: Out,
    min_review_chars: MinReviewChars = 200,
    min_item_reviewers: MinItemReviewers = 8,
    min_user_reviews: MinUserReviews = 18,
    max_user_reviews: MaxUserReviews = 500,
    holdout: Holdout = 10,
    min_profile_item_reviewers: MinProfileItemReviewers = 5,
    min_profile_reviews: MinProfileReviews = 8,
    max_bad_rows: MaxBadRows = "0.1%",
    allow_truncated: AllowTruncated = False,
    memory_gb: MemoryGb = 2.0,
    chunk_mb: ChunkMb = 32.0,
    reviews_per_part: ReviewsPerPart = 8192,
    scratch: Scratch = None,
    num_cpus: NumCpus = None,
) -> None:
    """Build a dataset from the Yelp Open Dataset: the business's name is the title, there is no description."""
    from drp_ray.data.formats import YELP

    with failures_reported(), stopped_by_signals():
        rules = _rules(
            min_review_chars=min_review_chars,
            min_item_reviewers=min_item_reviewers,
            min_user_reviews=min_user_reviews,
            max_user_reviews=max_user_reviews,
            holdout=holdout,
            min_profile_item_reviewers=min_profile_item_reviewers,
            min_profile_reviews=min_profile_reviews,
        )
        options = _options(max_bad_rows, allow_truncated, memory_gb, chunk_mb, reviews_per_part, scratch, num_cpus)
        _build(YELP, reviews, business, out, rules, options)


@data_app.command()
def table(
    users: Annotated[str, typer.Argument(metavar="USERS", help="user_id, profile, target: a file or folder.")],
    items: Annotated[str, typer.Argument(metavar="ITEMS", help="item_id, title, description: likewise.")],
    out: Out,
    max_bad_rows: MaxBadRows = "0.1%",
    allow_truncated: AllowTruncated = False,
    memory_gb: MemoryGb = 2.0,
    chunk_mb: ChunkMb = 32.0,
    scratch: Scratch = None,
    num_cpus: NumCpus = None,
) -> None:
    """Make a dataset of users and items that exist as such, in Parquet or JSON lines."""
    from drp_ray.data.from_tables import TableBuild, build_from_tables
    from drp_ray.data.inputs import find_files
    from drp_ray.storage.folder import open_folder

    with failures_reported(), stopped_by_signals():
        options = _options(max_bad_rows, allow_truncated, memory_gb, chunk_mb, 1, scratch, num_cpus)
        s3 = _s3()
        job = TableBuild(find_files([users], s3), find_files([items], s3), open_folder(out, s3), options)
        say(build_from_tables(job, say))
        say(f"dataset {job.out.uri}")


@data_app.command()
def hub(
    source: Annotated[str, typer.Argument(metavar="SET", help="A set of the hub, or a folder with a copy of it.")],
    out: Out,
    config: Annotated[str | None, typer.Option(metavar="NAME", help="The set's configuration, e.g. Books.")] = None,
    meta: Annotated[
        str | None, typer.Option(metavar="SET", help="The set of the items; none where reviews name their item.")
    ] = None,
    meta_config: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its configuration; --config if it has it.")
    ] = None,
    meta_split: Annotated[str | None, typer.Option(metavar="NAME", help="Its split, where it has several.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    revision: Annotated[str | None, typer.Option(help="A revision of the set on the hub.")] = None,
    scratch: Scratch = None,
) -> None:
    """Make a dataset of one that is on the Hugging Face hub, or of a local copy of it."""
    from drp_ray.data.from_hub import HubBuild, HubSource, build_from_hub
    from drp_ray.storage.folder import open_folder

    with failures_reported(), stopped_by_signals():
        users = HubSource(source, config, split, revision)
        items = None if meta is None else HubSource(meta, meta_config or config, meta_split, None)
        job = HubBuild(users, items, split, open_folder(out, _s3()), scratch)
        say(build_from_hub(job, say))
        say(f"dataset {job.out.uri}")


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
    from drp_ray.data.describe import QUERY_FIELDS, Questions
    from drp_ray.data.describe import describe as described
    from drp_ray.storage.folder import check_reachable, open_folder

    with failures_reported(), stopped_by_signals():
        fields = tuple(query.split(","))
        if unknown := [name for name in fields if name not in QUERY_FIELDS]:
            raise BadInput(f"--query {', '.join(unknown)}: known: {', '.join(QUERY_FIELDS)}")
        folder = open_folder(directory, _s3())
        check_reachable(folder)
        parent = open_folder(directory.rstrip("/").rpartition("/")[0] or ".", _s3())
        asked = Questions(n, k, fields, near, memory_gb, scratch, num_cpus)  # type: ignore[arg-type]
        say(described(folder, parent, asked))


def _rules(**values: Any) -> "Rules":
    from pydantic import ValidationError

    from drp_ray.data.rules import Rules

    try:
        return Rules(**values)
    except ValidationError as error:
        raise BadInput("; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())) from error


def _options(
    max_bad_rows: str,
    allow_truncated: bool,
    memory_gb: float,
    chunk_mb: float,
    reviews_per_part: int,
    scratch: str | None,
    num_cpus: int | None,
) -> "Options":
    from drp_ray.data.build import Options

    return Options(
        max_bad_rows=_share(max_bad_rows),
        allow_truncated=allow_truncated,
        memory_gb=memory_gb,
        chunk_bytes=round(chunk_mb * (1 << 20)),
        reviews_per_part=reviews_per_part,
        scratch=scratch,
        num_cpus=num_cpus,
    )


def _share(text: str) -> float:
    """A share from "0.1%" or "0.001"."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BadInput(f"--max-bad-rows {text}: a share is needed, such as 0.1% or 0.001")
    return share


def _build(kind: "Format", reviews: Paths, meta: Paths, out: str, rules: "Rules", options: "Options") -> None:
    from drp_ray.data.build import Build, build
    from drp_ray.data.inputs import find_files
    from drp_ray.storage.folder import open_folder

    s3 = _s3()
    job = Build(kind, find_files(reviews, s3), find_files(meta, s3), open_folder(out, s3), rules, options)
    say(build(job, say))
    say(f"dataset {job.out.uri}")


def _s3() -> "S3Options":
    from drp_ray.config import s3_options

    return s3_options()
