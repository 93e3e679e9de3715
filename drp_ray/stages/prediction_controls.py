"""prediction_controls: what the controls say of a run's predictions.

Each user's reference is compared with the prediction for another user of the same item, and both predictions are
attributed to an author. The other prediction is in any part, so that the stage is made whole, and again with the
`scores`: a metric that was missing may be there now.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from drp_ray.config import Evaluation
from drp_ray.evaluation.controls import PREDICTION, SWAPPED, control_schema, score_controls
from drp_ray.running.blocks import one_block_each
from drp_ray.running.part_outcomes import committed_table
from drp_ray.running.regrouping import concatenated
from drp_ray.stages.control_scores import control_settings
from drp_ray.stages.scores import opened_once
from drp_ray.stages.stage import Stage, StageContext, after
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import commit_part, part_names, read_part

TEXTS = pa.schema([("user_id", pa.string()), ("prediction", pa.string())])


@dataclass(frozen=True)
class PredictionControls:
    """Parts hold the same users as those of `predictions`."""

    evaluation: Evaluation
    cache: Path
    predictions: Folder
    controls: Folder
    users: Folder

    def plan(self, folder: Folder) -> ray.data.Dataset | None:
        """Collect all predictions, then score part by part."""
        parts = [{"part": name} for name in part_names(self.predictions)]
        if not parts:
            return None
        texts = one_block_each(parts).map_batches(
            predictions_of_part, batch_size=1, batch_format="pyarrow", fn_kwargs={"predictions": self.predictions}
        )
        everyone = concatenated.remote(*texts.to_arrow_refs())
        return one_block_each(parts).map_batches(
            write_part,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={"source": self, "everyone": everyone, "folder": folder},
        )


def predictions_of_part(batch: pa.Table, predictions: Folder) -> pa.Table:
    """The predictions of a part; null where one failed."""
    return read_part(predictions, batch["part"][0].as_py()).rows.select(TEXTS.names)


def write_part(batch: pa.Table, source: PredictionControls, everyone: Any, folder: Folder) -> pa.Table:
    """Write one part."""
    name = batch["part"][0].as_py()
    controls, users = (read_part(stage, name).rows for stage in (source.controls, source.users))
    predicted = predictions_for(controls, ray.get(everyone))
    metrics = opened_once(source.evaluation, source.cache)
    texts = texts_of(controls["user_id"].to_pylist(), controls["swapped_user"].to_pylist(), predicted)
    rows = score_controls(metrics, users.to_pylist(), texts, [SWAPPED], controls["authors"].to_pylist())
    scored = pa.Table.from_pylist(rows, control_schema(metrics, [SWAPPED], [PREDICTION, SWAPPED]))
    return committed_table(commit_part(folder, name, scored, {}, ""))


def predictions_for(controls: pa.Table, everyone: pa.Table) -> dict[str, str | None]:
    """The predictions for the users of a part and for their partners."""
    wanted = pa.concat_arrays([controls[name].combine_chunks() for name in ("user_id", "swapped_user")])
    found = everyone.filter(pc.is_in(everyone["user_id"], value_set=wanted.drop_null()))
    return dict(zip(found["user_id"].to_pylist(), found["prediction"].to_pylist(), strict=True))


def texts_of(
    users: list[str], swapped: list[str | None], predicted: dict[str, str | None]
) -> dict[str, list[str | None]]:
    """The users' own predictions and those for their partners; a user whose own one failed has neither."""
    own = [predicted[user] for user in users]
    others = [
        None if text is None or partner is None else predicted[partner]
        for text, partner in zip(own, swapped, strict=True)
    ]
    return {PREDICTION: own, SWAPPED: others}


def _make(context: StageContext) -> PredictionControls:
    predictions, controls, users = (context.folders[name] for name in ("predictions", "controls", "users"))
    return PredictionControls(context.config.evaluation, context.cache, predictions, controls, users)


PREDICTION_CONTROLS = Stage(
    "prediction_controls",
    version=1,
    inputs=after("predictions", "scores", "controls", "users"),
    settings=control_settings,
    from_libraries=("metrics",),
    make=_make,
    is_needed=lambda spec: spec.config.evaluation.controls,
    only_evaluates=True,
)
