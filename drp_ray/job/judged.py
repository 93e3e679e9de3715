"""What judges made of a run: the finished stages of its plan, and those that were added to it before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from drp_ray.config import Judge
from drp_ray.evaluation.judge import JudgeMeasure, judge_numbers, measures_of
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.run_record import added_stages, read_record
from drp_ray.stages.judgements import judge_of
from drp_ray.storage.fingerprint import fingerprint
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, Manifest, read_manifest, read_rows

READ = ("user_id", "text", "score", "expected")


@dataclass(frozen=True)
class Judged:
    """A finished stage of a judge: its settings, which name its folder, and the totals of its rows."""

    name: str
    stage: str
    settings: Mapping[str, Any]
    folder: Folder
    totals: Facts

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

    def numbers(self) -> dict[str, Any]:
        """What was asked, what could not be read, and a signature: equal ones mean comparable numbers."""
        return {**judge_numbers(self.totals, self.judge), "signature": self.signature}

    @property
    def signature(self) -> str:
        """The model, the scale, the samples, and a digest of all settings: rubric, sampling, seed, engine."""
        model = self.settings["roles"]["judge"]["model"]
        name = model.get("id") or model.get("folder") or model.get("file")
        return f"{name}|scale:{self.judge.scale}|samples:{self.judge.samples}|settings:{fingerprint(self.settings)}"


def judged_of(job: OpenedJob) -> list[Judged]:
    """The judges that have judged what a run has predicted, each once; a stage that is not complete is left out."""
    stages = {name: (info.made_from["settings"], info.folder) for name, info in job.plan.stages.items()}
    for name, stage in added_stages(read_record(job.run_folder), job.plan).items():
        if "made_from" in stage:
            stages[name] = (stage["made_from"]["settings"], job.root.at(name, stage["fingerprint"]))
    return list(judged_in(stages, read_manifest(job.plan.stages["predictions"].folder)))


def judged_in(stages: Mapping[str, tuple[Mapping[str, Any], Folder]], predictions: Manifest | None) -> Iterator[Judged]:
    """The same among stages, given by name with their settings and folders."""
    for name, (settings, folder) in stages.items():
        judge = judge_of(name)
        manifest = read_manifest(folder) if judge is not None else None
        is_of_now = manifest is not None and predictions is not None and manifest.is_done
        if judge and manifest and predictions and is_of_now and manifest.inputs["predictions"] == predictions.content:
            yield Judged(judge, name, settings, folder, manifest.totals or {})
