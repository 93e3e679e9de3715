"""What a metric is: it compares predictions with references, and says what it needs for that.

A metric is scored row by row, on any worker, into flat number columns; the number it reports is computed
from the sums of these columns. So a corpus metric takes one pass too, and its value does not depend on how
rows are split into parts.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from drp_ray.config import Evaluation, Section, explain
from drp_ray.errors import BadInput, JobFailed, nearest
from drp_ray.storage.fingerprint import canonical_json

Scores = dict[str, float | int]
"""Column values of one row."""

Better = Literal["higher", "lower", "none"]
"""Which values are the better ones; `none` for what describes a text and is no merit."""


class Measure(Protocol):
    """What every user has a value of: a metric or a judge. What is reported follows from sums over users."""

    @property
    def name(self) -> str:
        """The name of its number and of its first column."""

    @property
    def title(self) -> str:
        """The name as people write it."""

    @property
    def columns(self) -> list[pa.Field]:
        """The value under the measure's name, then further columns to sum, if any; all null where there is no value."""

    def aggregate(self, sums: Mapping[str, float], n: int) -> float:
        """The reported number, from the columns' sums over `n` users with a value."""

    def aggregate_draws(self, sums: Mapping[str, NDArray[np.float64]], n: NDArray[np.float64]) -> NDArray[np.float64]:
        """The reported number of many draws of users at once: arrays of one shape, an entry a draw."""


class MeanOfUsers:
    """What a measure reports unless it says otherwise: the mean of the users' own values."""

    def aggregate(self: Measure, sums: Mapping[str, float], n: int) -> float:
        """Compute the reported number from column sums over the `n` users with a value; NaN for no user."""
        return sums[self.name] / n if n else math.nan

    def aggregate_draws(
        self: Measure, sums: Mapping[str, NDArray[np.float64]], n: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`aggregate` of many draws of users at once, for bootstrap and permutations: an entry a draw."""
        with np.errstate(invalid="ignore"):
            return sums[self.name] / n


class Metric(MeanOfUsers, ABC):
    """One metric. Constructing is cheap; libraries and dictionaries are loaded with the first row.

    Construct a metric in the process that scores: what it remembers of earlier rows cannot be sent to another one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """The name as people write it."""

    columns: ClassVar[list[pa.Field]]
    """What `score` returns: the row's value under the metric's name, then the statistics to sum, if any."""

    better: ClassVar[Better] = "higher"
    decimals: ClassVar[int] = 4
    """Decimals that its number is shown with."""

    only_on_request: ClassVar[bool] = False
    """Whether only jobs that name the metric in `evaluation.metrics` have it, for example since it loads a model."""

    class Settings(Section):
        """The metric's own settings, under `evaluation.metrics.NAME`; another value names other scores.

        A metric that has some writes `class Settings(Metric.Settings)` and below it `settings: Settings`. A setting
        that changes no score, such as a batch size, is declared with `Field(exclude=True)`.
        """

    settings: Section

    def __init__(self, cache: Path, settings: Section | None = None) -> None:
        """`cache` is a folder for what is fetched once a machine."""
        self.cache = cache
        self.settings = settings if settings is not None else self.Settings()

    @property
    @abstractmethod
    def signature(self) -> str:
        """Implementation, version, tokenizer and fixed parameters; `full_signature` adds the settings."""

    @property
    def changed_settings(self) -> dict[str, Any]:
        """The settings that can change a score and differ from their defaults."""
        return self.settings.model_dump(mode="json", exclude_defaults=True)

    @property
    def full_signature(self) -> str:
        """The signature and the changed settings: equal ones mean comparable numbers."""
        changed = [f"{name}:{canonical_json(value)}" for name, value in self.changed_settings.items()]
        return "|".join([self.signature, *changed])

    @abstractmethod
    def score(self, prediction: str, reference: str) -> Scores:
        """Compare one prediction with its reference: a finite number for each of `columns`.

        Any text is accepted, the empty one too.
        """

    def score_batch(self, predictions: Sequence[str], references: Sequence[str]) -> list[Scores]:
        """Compare many predictions, at least one; a metric that is quicker at many texts together does it here."""
        return [self.score(*pair) for pair in zip(predictions, references, strict=True)]

    def missing(self) -> str | None:
        """Return None, or why this metric cannot be computed on this machine and what to do about it."""
        return None


class ProfileMetric(Metric):
    """A metric that also looks at the texts of the user's whole profile, in the dataset's order."""

    @abstractmethod
    def score(self, prediction: str, reference: str, profile: Sequence[str] = ()) -> Scores:
        """See `Metric`."""

    def score_batch(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        profiles: Sequence[Sequence[str]] | None = None,
    ) -> list[Scores]:
        """See `Metric`. Without `profiles` they are empty."""
        profiles = [()] * len(predictions) if profiles is None else profiles
        return [self.score(*texts) for texts in zip(predictions, references, profiles, strict=True)]


AnyMetric = TypeVar("AnyMetric", bound=Metric)

METRICS: dict[str, type[Metric]] = {}
"""Every metric by name."""

RESERVED = frozenset({"user_id", "rows", "errors", "retryable", "seconds"})
"""The key of a scores table and the facts of its parts, which have other meanings than the sum of a column."""


def metric(name: str, title: str, *statistics: str) -> Callable[[type[AnyMetric]], type[AnyMetric]]:
    """Register a metric: a float64 column `name`, and one int64 column for each of `statistics`.

    Raises:
        ValueError: a column of this name is there already.
    """

    def register(cls: type[AnyMetric]) -> type[AnyMetric]:
        taken = RESERVED.union(field.name for other in METRICS.values() for field in other.columns)
        for column in (name, *statistics):
            if column in taken:
                raise ValueError(f"metric {name!r}: the name of the column {column!r} is taken; choose another one")
        cls.name, cls.title = name, title
        cls.columns = [pa.field(name, pa.float64()), *(pa.field(each, pa.int64()) for each in statistics)]
        METRICS[name] = cls
        return cls

    return register


def open_metrics(evaluation: Evaluation, cache: Path) -> list[Metric]:
    """Construct the job's metrics with their settings: all but those that are only made on request, and these.

    Raises:
        BadInput: a setting is for no metric, or is not one of its metric's.
    """
    for name in evaluation.metrics:
        if name not in METRICS:
            raise BadInput(f"evaluation.metrics: there is no metric {name!r}; {nearest(name, METRICS)}")
    return [
        cls(cache, _settings(cls, evaluation.metrics.get(name, {})))
        for name, cls in METRICS.items()
        if name in evaluation.metrics or not cls.only_on_request
    ]


def _settings(cls: type[Metric], values: Mapping[str, Any]) -> Section:
    try:
        return cls.Settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(explain(problem, cls.Settings) for problem in error.errors())
        raise BadInput(f"evaluation.metrics.{cls.name}: {problems}") from error


def signatures(evaluation: Evaluation) -> dict[str, str]:
    """What the numbers of every metric are computed with.

    Raises:
        BadInput: as `open_metrics`.
    """
    return {metric.name: metric.full_signature for metric in open_metrics(evaluation, Path())}


def changed_settings(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """The settings of metrics that differ from their defaults, by the metric's name.

    Raises:
        BadInput: as `open_metrics`.
    """
    changed = {metric.name: metric.changed_settings for metric in open_metrics(evaluation, Path())}
    return {name: settings for name, settings in changed.items() if settings}


def scores_schema(metrics: Iterable[type[Metric] | Metric] | None = None) -> pa.Schema:
    """The schema of a scores table: `user_id`, then the columns of each metric; scores may be null.

    Without `metrics` it is that of a job that asks for none besides those that every job has.
    """
    if metrics is None:
        metrics = [cls for cls in METRICS.values() if not cls.only_on_request]
    return pa.schema([pa.field("user_id", pa.string()), *(field for each in metrics for field in each.columns)])


def score_rows(
    metrics: Sequence[Metric],
    predictions: Sequence[str | None],
    references: Sequence[str],
    profiles: Sequence[Sequence[str]] | None = None,
) -> list[dict[str, float | int | None]]:
    """The columns of all metrics for every row; `profiles` are the texts of every user's profile, none if left out.

    They are null where there is no prediction (an error row) and for a metric that cannot be computed here.

    Raises:
        JobFailed: a metric returned something else than its columns for every prediction.
    """
    rows: list[dict[str, float | int | None]] = [
        {field.name: None for metric in metrics for field in metric.columns} for _ in predictions
    ]
    texts = {place: text for place, text in enumerate(predictions) if text is not None}
    if not texts:
        return rows
    for metric in metrics:
        if metric.missing() is None:
            of_rows = [references[place] for place in texts]
            if isinstance(metric, ProfileMetric) and profiles is not None:
                read = [profiles[place] for place in texts]
                scored = metric.score_batch(list(texts.values()), of_rows, read)
            else:
                scored = metric.score_batch(list(texts.values()), of_rows)
            _check_scores(metric, scored, len(texts))
            for place, scores in zip(texts, scored, strict=True):
                rows[place].update(scores)
    return rows


def _check_scores(metric: Metric, scored: Sequence[Scores], asked: int) -> None:
    if len(scored) != asked:
        raise JobFailed(f"metric {metric.name}: score_batch returned {len(scored)} rows for {asked} predictions")
    columns = {field.name for field in metric.columns}
    for scores in scored:
        if scores.keys() != columns or not all(math.isfinite(value) for value in scores.values()):
            raise JobFailed(f"metric {metric.name}: {scores} is not one finite number for each of {sorted(columns)}")
