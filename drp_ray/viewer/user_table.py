"""The numbers of every user of a run: scores, lengths, and what became of the row. Texts are only measured."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.job.compared_runs import target_digest
from drp_ray.job.finished import FinishedRun

KEPT = ("user_id", "status", "method", "fallback", "n_differences", "n_failed_differences")


@dataclass(frozen=True)
class UserTable:
    """One row a user, in user_id order: `KEPT`, lengths in characters, a digest of the target, a column a measure.

    A measure's column is null where a user has no value of it.
    """

    rows: pa.Table
    measures: tuple[str, ...]

    @property
    def user_ids(self) -> list[str]:
        """All users."""
        ids: list[str] = self.rows["user_id"].to_pylist()
        return ids

    @property
    def targets(self) -> dict[str, bytes]:
        """By user a digest of what was to be written."""
        return dict(zip(self.user_ids, self.rows["target"].to_pylist(), strict=True))

    def values(self, measure: str) -> np.ndarray:
        """The users' values of a measure, float64[users]; NaN where there is none."""
        return np.asarray(self.rows[measure].to_numpy(), dtype=np.float64)


def read_user_table(run: FinishedRun) -> UserTable:
    """Read predictions part by part, and keep numbers alone; the scores are those of metrics, authorship and judges."""
    scores = run.scores.table
    columns = [*KEPT, "item_id", "prediction", "reference"]
    rows = pa.concat_tables([_measured(part) for part in run.parts("predictions", columns)]).sort_by("user_id")
    measures = tuple(measure.name for measure in run.measures if measure.name in scores.column_names)
    for name in measures:
        rows = rows.append_column(name, scores[name].cast(pa.float64()))
    return UserTable(rows.combine_chunks(), measures)


def _measured(part: pa.Table) -> pa.Table:
    rows = part.select(KEPT)
    for name in ("prediction", "reference"):
        rows = rows.append_column(f"{name}_chars", pc.utf8_length(part[name]))
    targets = zip(part["item_id"].to_pylist(), part["reference"].to_pylist(), strict=True)
    return rows.append_column("target", pa.array([target_digest(*target) for target in targets], pa.binary()))
