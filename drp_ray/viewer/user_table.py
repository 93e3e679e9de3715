"""The numbers of every user of a run: scores, lengths, and what became of the row. Texts are only measured."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.job.finished import FinishedRun

KEPT = ("user_id", "status", "method", "fallback", "n_differences", "n_failed_differences")


@dataclass(frozen=True)
class UserTable:
    """One row a user, in user_id order: `KEPT`, lengths in characters, and a column for every measure.

    A measure's column is null where a user has no value of it.
    """

    rows: pa.Table
    measures: tuple[str, ...]

    @property
    def user_ids(self) -> list[str]:
        """All users."""
        ids: list[str] = self.rows["user_id"].to_pylist()
        return ids

    def values(self, measure: str) -> np.ndarray:
        """The users' values of a measure, float64[users]; NaN where there is none."""
        return np.asarray(self.rows[measure].to_numpy(), dtype=np.float64)


def read_user_table(run: FinishedRun) -> UserTable:
    """Read predictions part by part, and keep numbers alone; the scores are those of metrics, authorship and judges."""
    scores = run.scores.table
    columns = [*KEPT, "prediction", "reference"]
    rows = pa.concat_tables([_measured(part) for part in run.parts("predictions", columns)]).sort_by("user_id")
    measures = tuple(measure.name for measure in run.measures if measure.name in scores.column_names)
    for name in measures:
        rows = rows.append_column(name, scores[name].cast(pa.float64()))
    return UserTable(rows.combine_chunks(), measures)


def _measured(part: pa.Table) -> pa.Table:
    rows = part.select(KEPT)
    for name in ("prediction", "reference"):
        rows = rows.append_column(f"{name}_chars", pc.utf8_length(part[name]))
    return rows
