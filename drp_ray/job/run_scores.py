"""The values of a finished run, user by user: of its predictions and of its controls, by metrics and by judges."""

from collections.abc import Container, Mapping, Sequence

import pyarrow as pa

from drp_ray.evaluation.authorship import ATTRIBUTIONS
from drp_ray.evaluation.controls import PREDICTION
from drp_ray.evaluation.user_scores import FROM_PREDICTIONS, UserScores, side_by_side
from drp_ray.job.judged import Judged
from drp_ray.job.plan import Plan
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import read_rows

CONTROL_STAGES = ("control_scores", "prediction_controls")
"""The stages whose rows are values of controls: those of the dataset's, and those of the run's."""


def read_user_scores(plan: Plan, judged: Sequence[Judged] = ()) -> UserScores:
    """The values of the predictions; with the columns of judges where `judged_of` found some."""
    return user_scores_in(folders_of(plan), judged)


def folders_of(plan: Plan) -> dict[str, Folder]:
    """The folder of every stage, by the stage's name."""
    return {name: info.folder for name, info in plan.stages.items()}


def user_scores_in(folders: Mapping[str, Folder], judged: Sequence[Judged] = ()) -> UserScores:
    """The same from the folders of the run's stages, by the stages' names."""
    predictions = read_rows(folders["predictions"], FROM_PREDICTIONS)
    columns = [values for each in judged for values in each.user_columns()]
    users = UserScores.join(predictions, read_rows(folders["scores"]), *columns)
    controls = read_controls(folders)
    if controls is None:
        return users
    return users.with_columns({way.name: controls[f"{PREDICTION}:{way.name}"] for way in ATTRIBUTIONS})


def has_controls(stages: Container[str]) -> bool:
    """Whether a run has the scores of controls among its complete stages."""
    return all(name in stages for name in CONTROL_STAGES)


def read_controls(folders: Mapping[str, Folder], judged: Sequence[Judged] = ()) -> pa.Table | None:
    """The values of all controls, in user_id order, in columns `CONTROL:COLUMN`; None where the run has none."""
    if not has_controls(folders):
        return None
    of_judges = [values for each in judged for values in each.control_columns()]
    return side_by_side(*(read_rows(folders[name]) for name in CONTROL_STAGES), *of_judges)
