"""Finished runs, written as a job leaves them, without a job: predictions, scores, manifests and `run.json`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from drp_ray.config import Config, Evaluation
from drp_ray.evaluation.metrics.base import open_metrics, score_rows, scores_schema, signatures
from drp_ray.storage.folder import Folder, LocalFolder
from drp_ray.storage.parts import Manifest, add_up, commit_part, part_name, write_manifest

METRICS = [metric for metric in open_metrics(Evaluation(), Path("/nowhere")) if metric.name != "meteor"]
"""What these runs are scored with: as where there is no WordNet, which takes seconds to load."""


class Row(NamedTuple):
    """A user's prediction (None: the row failed) and reference."""

    user: str
    prediction: str | None
    reference: str
    item: str = "item"


def config_of(name: str, **settings) -> Config:
    job = {"name": name, "dataset": "/gone/data", "root": "/gone", "method": "rag", "models": {"llm": {"id": "some/m"}}}
    return Config.model_validate({**job, **settings})


def write_stage(
    folder: Folder, stage: str, rows: pa.Table, inputs: Mapping[str, str], parts: int, settings
) -> Manifest:
    size = max(-(-rows.num_rows // parts), 1)
    pieces = [rows.slice(start, size) for start in range(0, rows.num_rows, size)]
    committed = [commit_part(folder, part_name(number), piece, {}, "") for number, piece in enumerate(pieces)]
    entries = [each.entry for each in committed]
    manifest = Manifest(
        stage=stage,
        fingerprint="f",
        made_from={"settings": settings},
        inputs=dict(inputs),
        parts=entries,
        totals={"rows": 0, **add_up(entry.facts for entry in entries)},
    )
    write_manifest(folder, manifest)
    return manifest


def write_stages(
    folders: Mapping[str, Folder], rows: Sequence[Row], parts: int = 1, signed: dict | None = None
) -> None:
    """Write all stages of a run; those before the predictions without rows."""
    predictions = pa.table(
        {
            "user_id": [row.user for row in rows],
            "item_id": [row.item for row in rows],
            "method": ["rag"] * len(rows),
            "status": ["error" if row.prediction is None else "ok" for row in rows],
            "prediction": pa.array([row.prediction for row in rows], pa.string()),
            "reference": [row.reference for row in rows],
        }
    )
    scored = score_rows(METRICS, [row.prediction for row in rows], [row.reference for row in rows])
    table = [{"user_id": row.user, **each} for row, each in zip(rows, scored, strict=True)]
    scores = pa.Table.from_pylist(table, scores_schema())
    for name in folders.keys() - {"predictions", "scores"}:
        write_stage(folders[name], name, predictions.slice(0, 0), {}, 1, {})
    made = write_stage(folders["predictions"], "predictions", predictions, {}, parts, {})
    settings = {"metrics": {**signatures(Evaluation()), **(signed or {})}}
    write_stage(folders["scores"], "scores", scores, {"predictions": made.content}, parts, settings)


def write_run(root: Path | Folder, name: str, rows: Sequence[Row], parts: int = 1, signed: dict | None = None) -> str:
    """Write a whole run below `root` and return its folder."""
    results = LocalFolder(root) if isinstance(root, Path) else root
    folders = {stage: results.at(stage, f"of-{name}") for stage in ("predictions", "scores")}
    write_stages(folders, rows, parts, signed)
    record = {
        "name": name,
        "made_from": {},
        "config": config_of(name).model_dump(mode="json"),
        "stages": {stage: {"fingerprint": f"of-{name}", "folder": folder.uri} for stage, folder in folders.items()},
        "libraries": {},
        "commit": None,
    }
    folder = results.at("runs", name)
    folder.write("run.json", json.dumps(record).encode())
    return folder.uri
