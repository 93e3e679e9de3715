"""Finished runs without Ray: the folders of a job's stages, filled with given rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from drp_ray import schema
from drp_ray.config import Evaluation
from drp_ray.evaluation.metrics.base import open_metrics, score_rows, scores_schema
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.run_record import write_run
from drp_ray.job.sweep import open_sweep
from drp_ray.storage.parts import Manifest, add_up, commit_part, part_name, write_manifest

JOB = {"name": "run", "method": "rag", "models": {"llm": {"id": "some/model", "engine": "openai"}}}
METRICS = [metric for metric in open_metrics(Evaluation(), Path("/nowhere")) if metric.name != "meteor"]


def write_job(folder: Path, data: Path, **settings: Any) -> Path:
    """A job file whose results lie in `folder/out`."""
    path = folder / f"{settings.get('name', 'run')}.yaml"
    path.write_text(yaml.safe_dump({**JOB, "dataset": str(data), "root": str(folder / "out"), **settings}))
    return path


def predictions(texts: Mapping[str, str | None], references: Mapping[str, str] | None = None) -> pa.Table:
    """A row a user; one whose text is None failed."""
    rows = [
        {
            "user_id": user,
            "item_id": f"item of {user}",
            "method": "rag",
            "prediction": text,
            "reference": (references or {}).get(user, "the car runs well."),
            "status": "error" if text is None else "ok",
        }
        for user, text in texts.items()
    ]
    return pa.Table.from_pylist(rows, schema.PREDICTIONS)


def scores(predicted: pa.Table) -> pa.Table:
    """The scores of predictions, without METEOR, which needs a dictionary."""
    scored = score_rows(METRICS, predicted["prediction"].to_pylist(), predicted["reference"].to_pylist())
    users = predicted["user_id"].to_pylist()
    rows = [{"user_id": user, **row} for user, row in zip(users, scored, strict=True)]
    return pa.Table.from_pylist(rows, scores_schema())


def fill(job: OpenedJob, stage: str, parts: Sequence[pa.Table], **inputs: str) -> Manifest:
    """Commit the parts of a stage."""
    info = job.plan.stages[stage]
    entries = [commit_part(info.folder, part_name(number), rows, {}, "").entry for number, rows in enumerate(parts)]
    totals = add_up(entry.facts for entry in entries)
    manifest = Manifest(
        stage=stage,
        fingerprint=info.fingerprint,
        made_from=dict(info.made_from),
        inputs=inputs,
        parts=entries,
        totals=totals,
    )
    write_manifest(info.folder, manifest)
    return manifest


def finish(job: OpenedJob, predicted: Sequence[pa.Table], **stages: Sequence[pa.Table]) -> None:
    """Write a run with these predictions, their scores, and the parts of further stages."""
    made = fill(job, "predictions", predicted)
    fill(job, "scores", [scores(part) for part in predicted], predictions=made.content)
    for stage, parts in stages.items():
        fill(job, stage, parts)
    write_run(job.run_folder, job.config, job.plan)


def jobs_of(path: Path) -> list[OpenedJob]:
    """The jobs of a file, one for a file without lists."""
    return [run.job for run in open_sweep(path).runs]
