"""A finished run as its folder describes it: settings, stages and numbers. Nothing is opened but files."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.config import s3_options
from drp_ray.errors import BadInput
from drp_ray.job.result import METRICS_FILE
from drp_ray.job.run_record import RUN, Record, read_record
from drp_ray.job.sweep import open_sweep
from drp_ray.stages.order import STAGES
from drp_ray.storage.folder import Folder, check_reachable, open_folder
from drp_ray.storage.parts import Manifest, PartEntry, read_manifest

READ_AHEAD = 4
"""Parts that are read while another one is worked on: over a network most of the time is spent waiting."""


@dataclass(frozen=True)
class FinishedRun:
    """A run whose stages are complete. `name` is unique among the runs of a report."""

    name: str
    folder: Folder
    record: Record
    metrics: Mapping[str, Any]
    stages: Mapping[str, Folder]

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's settings, with all defaults."""
        settings: Mapping[str, Any] = self.record["config"]
        return settings

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """The manifest of every stage, in the order in which they were made."""
        found = {name: read_manifest(folder) for name, folder in self.stages.items()}
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    def parts(self, stage: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a stage, part by part, in the order of the parts; `columns` of them, or all."""
        names = [part.name for part in self.entries(stage)]
        yield from read_ahead(self.stages[stage], names, columns)

    def entries(self, stage: str) -> list[PartEntry]:
        """The parts of a stage; none where the run has no such stage."""
        return self.manifests[stage].parts if stage in self.manifests else []


def read_ahead(folder: Folder, names: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Read parts in order, a few of them in advance; no more than these are in memory."""

    def read(name: str) -> pa.Table:
        with folder.open(name) as file:
            wanted = None if columns is None else list(columns)
            return pq.read_table(file, columns=wanted, use_threads=False).replace_schema_metadata(None)

    waiting = iter(names)
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        reading = [pool.submit(read, name) for name in islice(waiting, READ_AHEAD)]
        while reading:
            table = reading.pop(0).result()
            reading += [pool.submit(read, name) for name in islice(waiting, 1)]
            yield table


def open_runs(given: Iterable[str], overrides: Sequence[str] = ()) -> list[FinishedRun]:
    """Open the runs that job files and folders name; a job file whose settings are lists names several.

    Raises:
        BadInput: there is no such run, or it is not finished.
    """
    folders = [folder for each in given for folder in _run_folders(each, overrides)]
    return named_apart([open_run(folder) for folder in folders])


def named_apart(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Runs of one name (of different datasets, say) get a number behind it."""
    names = [run.name for run in runs]
    numbered = [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]
    return [
        FinishedRun(name, run.folder, run.record, run.metrics, run.stages)
        for name, run in zip(numbered, runs, strict=True)
    ]


def is_job_file(given: str) -> bool:
    """Whether a job file is meant, and not a folder."""
    return given.endswith((".yaml", ".yml"))


def _run_folders(given: str, overrides: Sequence[str]) -> list[Folder]:
    if is_job_file(given):
        return [run.job.run_folder for run in open_sweep(Path(given), overrides).runs]
    folder = open_folder(given, s3_options())
    check_reachable(folder)
    if read_record(folder) is None:
        raise BadInput(f"{folder.uri}: there is no {RUN} here; give a job file (.yaml) or the folder of a run")
    return [folder]


def open_run(folder: Folder) -> FinishedRun:
    """Open the run of a folder.

    Raises:
        BadInput: there is none, or it is not finished.
    """
    record = read_record(folder)
    if record is None:
        raise BadInput(f"{folder.uri}: this run does not exist yet; make it with drp-ray run or drp-ray sweep")
    try:
        metrics = json.loads(folder.read(METRICS_FILE))
    except FileNotFoundError as error:
        raise BadInput(f"{folder.uri}: this run is not finished; the same command that began it continues") from error
    stages = {name: open_folder(stage["folder"], s3_options()) for name, stage in record["stages"].items()}
    run = FinishedRun(record["name"], folder, record, metrics, in_order(stages))
    for name in ("contexts", "predictions", "scores"):
        if name not in run.manifests or not run.manifests[name].is_done:
            raise BadInput(f"{folder.uri}: its stage {name} is not complete (any more); run the job again")
    return run


def in_order(stages: Mapping[str, Folder]) -> dict[str, Folder]:
    """Stages in the order in which a job makes them; those that are not known here come last, by name."""

    known = [stage.name for stage in STAGES]
    return {name: stages[name] for name in [*(n for n in known if n in stages), *sorted(set(stages) - set(known))]}
