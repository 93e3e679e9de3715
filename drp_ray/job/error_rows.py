"""The error rows of a job by reason, read from storage alone: it needs no cluster and disturbs no running job."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from drp_ray.job.opened_job import OpenedJob
from drp_ray.schema import Row
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Committed, part_names, read_committed, read_part

EXAMPLES = 3
LONGEST_REASON = 120
LONGEST_EXAMPLE = 300
NAMES_A_ROW = ("user_id", "item_id", "text", "sample")
"""The columns that say which row it is, of those that a stage has."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True)
class Reason:
    """Error rows of a stage whose messages differ only in what they quote and count, and examples of them."""

    text: str
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class StageErrors:
    """The error rows of a stage, the most frequent reason first. `rows` counts the rows that are there so far."""

    stage: str
    rows: int
    reasons: tuple[Reason, ...]

    @property
    def errors(self) -> int:
        """How many error rows there are."""
        return sum(reason.rows for reason in self.reasons)

    @property
    def rate(self) -> float:
        """The share of error rows."""
        return self.errors / self.rows if self.rows else 0.0


def errors_of(job: OpenedJob, examples: int = EXAMPLES) -> list[StageErrors]:
    """The error rows of every stage that asks language models, in the order of the stages."""
    asking = [name for name, resources in job.plan.resources().items() if resources.models]
    return [_errors_of(name, job.plan.stages[name].folder, examples) for name in asking]


def lines_of(stages: Sequence[StageErrors]) -> Iterator[str]:
    """What the command line prints."""
    for stage in stages:
        yield f"{stage.stage}: {stage.errors:,} error rows of {stage.rows:,}"
        for reason in stage.reasons:
            yield f"  {reason.rows:,} × {reason.text}"
            yield from (f"      {example}" for example in reason.examples)
    if any(stage.errors for stage in stages):
        yield "drp-ray run with --retry-errors computes error rows again"


def reason_of(message: str) -> str:
    """A message without what it quotes and counts, so that equal failures have equal reasons."""
    return _NUMBER.sub("…", _QUOTED.sub("…", message))[:LONGEST_REASON]


def _errors_of(name: str, folder: Folder, examples: int) -> StageErrors:
    committed = read_committed(folder, part_names(folder))
    found: dict[str, list[Row]] = {}
    for row in _error_rows(folder, committed.values()):
        found.setdefault(reason_of(row["error"] or ""), []).append(row)
    reasons = [
        Reason(_on_one_line(reason), len(rows), tuple(map(_example, rows[:examples]))) for reason, rows in found.items()
    ]
    reasons.sort(key=lambda reason: (-reason.rows, reason.text))
    return StageErrors(name, sum(part.rows for part in committed.values()), tuple(reasons))


def _error_rows(folder: Folder, parts: Iterable[Committed]) -> Iterator[Row]:
    for part in parts:
        if part.facts.get("errors") != 0:
            yield from (row for row in read_part(folder, part.name).rows.to_pylist() if row["status"] == "error")


def _example(row: Row) -> str:
    names = ", ".join(str(row[column]) for column in NAMES_A_ROW if row.get(column) is not None)
    message = (row["error"] or "")[:LONGEST_EXAMPLE]
    return _on_one_line(f"{names} (attempts: {row['attempts']}): {message}")


def _on_one_line(text: str) -> str:
    return " ".join(text.splitlines())
