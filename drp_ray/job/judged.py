"""What judges made of a run and of its controls: the finished stages of its plan, and those that were added before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from drp_ray.config import Judge
from drp_ray.evaluation.controls import OF_DATA
from drp_ray.evaluation.judge import JudgeMeasure, judge_numbers, measures_of
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.run_record import added_stages, read_record
from drp_ray.stages.control_judgements import STAGE as CONTROL_JUDGEMENTS
from drp_ray.stages.judgements import judge_of
from drp_ray.stages.judging import stage_name
from drp_ray.storage.fingerprint import fingerprint
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, Manifest, read_manifest, read_rows

READ = ("user_id", "text", "score", "expected")

Stages = Mapping[str, tuple[Mapping[str, Any], Folder]]
"""The settings and the folders of stages, by name."""


@dataclass(frozen=True)
class Judged:
    """A finished stage of a judge: its settings, which name its folder, and the totals of its rows.

    `controls` is where the same judge's answers about the controls are; None where it was not asked about them.
    """

    name: str
    stage: str
    settings: Mapping[str, Any]
    folder: Folder
    totals: Facts
    controls: Folder | None = None

    @property
    def judge(self) -> Judge:
        """The settings that say what its rows are."""
        return Judge(**{key: self.settings[key] for key in ("samples", "expected", "scale")})

    @property
    def measures(self) -> list[JudgeMeasure]:
        """The judge's number, and the expected score where it was asked."""
        return measures_of({self.name: self.judge})

    def user_columns(self) -> list[pa.Table]:
        """The columns of its measures, a row a user."""
        judgements = read_rows(self.folder, READ)
        return [measure.values(judgements) for measure in self.measures]

    def control_columns(self) -> list[pa.Table]:
        """The columns of its measures for every control that it was asked about, each named `CONTROL:MEASURE`."""
        if self.controls is None:
            return []
        judgements = read_rows(self.controls, READ)
        return [
            measure.values(judgements, text).rename_columns(["user_id", f"{text}:{measure.name}"])
            for text in OF_DATA
            for measure in self.measures
        ]

    def numbers(self) -> dict[str, Any]:
        """What was asked, what could not be read, and a signature: equal ones mean comparable numbers."""
        return {**judge_numbers(self.totals, self.judge), "signature": self.signature}

    @property
    def signature(self) -> str:
        """The model, the scale, the samples, and a digest of all settings but the seed: rubric, sampling, engine.

        The executions of a run may differ in their seed, which draws other answers of the same judge.
        """
        model = self.settings["roles"]["judge"]["model"]
        name = model.get("id") or model.get("folder") or model.get("file")
        of_judge = fingerprint({key: value for key, value in self.settings.items() if key != "seed"})
        return f"{name}|scale:{self.judge.scale}|samples:{self.judge.samples}|settings:{of_judge}"


def judged_of(job: OpenedJob) -> list[Judged]:
    """The judges that have judged what a run has predicted, each once; a stage that is not complete is left out."""
    stages = {name: (info.made_from["settings"], info.folder) for name, info in job.plan.stages.items()}
    for name, stage in added_stages(read_record(job.run_folder), job.plan).items():
        if "made_from" in stage:
            stages[name] = (stage["made_from"]["settings"], job.root.at(name, stage["fingerprint"]))
    return list(judged_in(stages, read_manifest(job.plan.stages["predictions"].folder)))


def judged_in(stages: Stages, predictions: Manifest | None) -> Iterator[Judged]:
    """The same among stages, given by name."""
    for name, (settings, folder) in stages.items():
        judge = judge_of(name)
        manifest = _finished(folder, "predictions", predictions) if judge is not None else None
        if judge is not None and manifest is not None:
            controls = _controls_judged(stages, judge, settings)
            yield Judged(judge, name, settings, folder, manifest.totals or {}, controls)


def _controls_judged(stages: Stages, judge: str, settings: Mapping[str, Any]) -> Folder | None:
    """Where the judge of these settings has judged the controls that there are now."""
    of_judge = stages.get(stage_name(CONTROL_JUDGEMENTS, judge))
    if of_judge is None or "controls" not in stages or fingerprint(of_judge[0]) != fingerprint(settings):
        return None
    manifest = _finished(of_judge[1], "controls", read_manifest(stages["controls"][1]))
    return of_judge[1] if manifest is not None else None


def _finished(folder: Folder, input_name: str, source: Manifest | None) -> Manifest | None:
    """The manifest of a stage that is done and was made from what its input holds now; else None."""
    manifest = read_manifest(folder)
    if manifest is None or source is None or not manifest.is_done:
        return None
    return manifest if manifest.inputs[input_name] == source.content else None
