"""Finished runs as commands read them: by a job file, or by a run's folder on a disk or in a bucket.

Of a run's folder only storage is read: neither the dataset nor a method's own code need be there. Executions that
differ only in what is averaged over (`protocols.AVERAGED`) are one group, and stand for one result.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.config import Config, cache_folder, s3_options
from drp_ray.errors import BadInput
from drp_ray.evaluation.authorship import ATTRIBUTIONS
from drp_ray.evaluation.metrics.base import Measure, open_metrics
from drp_ray.evaluation.user_scores import UserScores
from drp_ray.job.judged import Judged, judged_in
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.protocols import find_protocol
from drp_ray.job.result import METRICS_FILE
from drp_ray.job.run_record import RUN, Record, check_run_name, read_record, recorded_config
from drp_ray.job.run_scores import has_controls, user_scores_in
from drp_ray.job.sweep import Run, Sweep, open_sweep
from drp_ray.running.survey import is_current
from drp_ray.stages.order import STAGES
from drp_ray.stages.stage import base_name
from drp_ray.storage.folder import Folder, check_reachable, open_folder
from drp_ray.storage.parts import (
    Manifest,
    PartEntry,
    damage_named,
    read_manifest,
    read_rows,
    read_whole_manifest,
)

READ_AHEAD = 4
"""Parts that are read while another one is worked on: over a network most of the time is spent waiting."""


@dataclass(frozen=True)
class FinishedRun:
    """A run whose predictions and scores are complete: its record and the folders of its stages, in their order.

    `name` is unique among the runs that were opened together. `config` are the settings of its job.
    """

    name: str
    folder: Folder
    record: Record
    config: Config
    stages: Mapping[str, Folder]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The recorded settings, with all defaults."""
        settings: Mapping[str, Any] = self.record["config"]
        return settings

    @property
    def users_fingerprint(self) -> str:
        """What names the users for whom it predicts."""
        return str(self.record["stages"]["users"]["fingerprint"])

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """The content of `metrics.json`.

        Raises:
            BadInput: there is none.
        """
        try:
            metrics: Mapping[str, Any] = json.loads(self.folder.read(METRICS_FILE))
        except FileNotFoundError as error:
            raise BadInput(
                f"{self.folder.uri}: no {METRICS_FILE}; the same command that made the run writes it"
            ) from error
        return metrics

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """The manifests of the stages that are there."""
        found = {name: read_whole_manifest(folder) for name, folder in self.stages.items()}
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    def has(self, stage: str) -> bool:
        """Whether the run has this stage, complete."""
        return stage in self.manifests and self.manifests[stage].is_done

    def entries(self, stage: str) -> list[PartEntry]:
        """The parts of a stage; none where the run has no such stage."""
        return self.manifests[stage].parts if stage in self.manifests else []

    def rows(self, stage: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a complete stage, or some columns of them.

        Raises:
            BadInput: it is not complete.
        """
        self._check_has(stage)
        return read_rows(self.stages[stage], columns)

    def parts(self, stage: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The parts of a complete stage one by one: all columns, or some, which may be leaves (`target.rating`).

        Raises:
            BadInput: it is not complete.
        """
        self._check_has(stage)
        yield from read_ahead(self.stages[stage], [entry.name for entry in self.entries(stage)], columns)

    def _check_has(self, stage: str) -> None:
        if not self.has(stage):
            raise BadInput(f"run {self.name}: {stage} is not complete; finish it with drp-ray run or drp-ray sweep")

    @cached_property
    def judged(self) -> list[Judged]:
        """The judges that have judged its predictions."""
        made = {
            name: stage["made_from"]["settings"]
            for name, stage in self.record["stages"].items()
            if "made_from" in stage
        }
        stages = {name: (settings, self.stages[name]) for name, settings in made.items()}
        return list(judged_in(stages, self.manifests["predictions"]))

    @cached_property
    def scores(self) -> UserScores:
        """The scores of the run, user by user, with those of judges and of author identification where it has them."""
        complete = {name: folder for name, folder in self.stages.items() if self.has(name)}
        return user_scores_in(complete, self.judged)

    @cached_property
    def items(self) -> dict[str, str]:
        """The item that each user was to write about."""
        rows = self.rows("predictions", ("user_id", "item_id"))
        return dict(zip(rows["user_id"].to_pylist(), rows["item_id"].to_pylist(), strict=True))

    @property
    def measures(self) -> list[Measure]:
        """All that it has values of: metrics, author identification, judges."""
        metrics = open_metrics(self.config.evaluation, cache_folder(self.config.runtime))
        attributions = ATTRIBUTIONS if has_controls(self.manifests) else ()
        return [*metrics, *attributions, *(measure for each in self.judged for measure in each.measures)]

    @property
    def metric_signatures(self) -> dict[str, str]:
        """What the numbers of every metric are computed with: equal ones mean comparable numbers."""
        return dict(self.manifests["scores"].made_from["settings"].get("metrics", {}))

    @property
    def signatures(self) -> dict[str, str]:
        """The same of all measures."""
        judges = {measure.name: each.signature for each in self.judged for measure in each.measures}
        return {**self.metric_signatures, **self._attribution_signatures, **judges}

    @property
    def _attribution_signatures(self) -> dict[str, str]:
        """Those of author identification, as the stage recorded them; they stand in the order of `ATTRIBUTIONS`."""
        if not has_controls(self.manifests):
            return {}
        recorded = self.manifests["prediction_controls"].made_from.get("settings", {}).get("authors", [])
        return {way.name: signature for way, signature in zip(ATTRIBUTIONS, recorded, strict=False)}


def read_ahead(folder: Folder, names: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Read parts in order, a few of them in advance; no more than these are in memory."""

    def read(name: str) -> pa.Table:
        with damage_named(folder, name), folder.open(name) as file:
            wanted = None if columns is None else list(columns)
            return pq.ParquetFile(file).read(columns=wanted, use_threads=False).replace_schema_metadata(None)

    waiting = iter(names)
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        reading = [pool.submit(read, name) for name in islice(waiting, READ_AHEAD)]
        while reading:
            table = reading.pop(0).result()
            reading += [pool.submit(read, name) for name in islice(waiting, 1)]
            yield table


@dataclass(frozen=True)
class RunGroup:
    """One result: a run, or the executions of a sweep that it is the mean of."""

    name: str
    executions: tuple[FinishedRun, ...]

    @property
    def config(self) -> Config:
        """The settings, which differ between the executions only in what is averaged over."""
        return self.executions[0].config

    @property
    def protocol(self) -> str | None:
        """The protocol that the result is of, which says so where executions of it are missing."""
        name = self.config.protocol
        if name is None or len(self.executions) == find_protocol(name).executions:
            return name
        return f"{name}, {len(self.executions)} of {find_protocol(name).executions} executions"


def open_groups(runs: Iterable[str], overrides: Iterable[str] = ()) -> list[RunGroup]:
    """Open finished runs, each a job file or a run's folder; groups of one name are told apart by a number.

    A job file is read as `drp-ray sweep` reads it, with the overrides, which do not touch folders.

    Raises:
        BadInput: one is neither, or is not finished.
    """
    groups = [group for run in runs for group in _open(run, tuple(overrides))]
    names = _told_apart([group.name for group in groups])
    return [replace(group, name=name) for group, name in zip(groups, names, strict=True)]


def executions_of(groups: Iterable[RunGroup]) -> list[FinishedRun]:
    """All runs, each under a name of its own."""
    return told_apart([run for group in groups for run in group.executions])


def told_apart_within(groups: Sequence[RunGroup]) -> list[RunGroup]:
    """The same groups, each under a name of its own, and so every execution."""
    runs = iter(executions_of(groups))
    names = _told_apart([group.name for group in groups])
    return [
        RunGroup(name, tuple(islice(runs, len(group.executions)))) for name, group in zip(names, groups, strict=True)
    ]


def told_apart(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Runs of one name (of different datasets, say) get a number behind it."""
    return [replace(run, name=name) for run, name in zip(runs, _told_apart([run.name for run in runs]), strict=True)]


def _told_apart(names: Sequence[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        number, free = 2, name
        while free in taken:
            number, free = number + 1, f"{name}-{number}"
        taken.append(free)
    return taken


def is_job_file(run: str) -> bool:
    """Whether a job file is meant, and not a folder."""
    return "://" not in run and (run.endswith((".yaml", ".yml")) or Path(run).is_file())


def _open(run: str, overrides: tuple[str, ...]) -> list[RunGroup]:
    if is_job_file(run):
        return _groups_of_file(Path(run), overrides)
    folder = open_folder(run, s3_options())
    check_reachable(folder)
    found = open_run(folder)
    return [RunGroup(found.name, (found,))]


def _groups_of_file(path: Path, overrides: tuple[str, ...]) -> list[RunGroup]:
    return groups_of_sweep(open_sweep(path, overrides))


def groups_of_sweep(sweep: Sweep) -> list[RunGroup]:
    """The results of a sweep, each the executions that differ only in what is averaged over.

    Raises:
        BadInput: a run is not finished.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        fixed = tuple(choice.label for choice in run.choices if not choice.is_averaged)
        groups.setdefault(fixed, []).append(run)
    return [
        RunGroup(
            runs[0].job.config.name if len(runs) == 1 else "-".join([sweep.name, *fixed]),
            tuple(finished_run(run.job) for run in runs),
        )
        for fixed, runs in groups.items()
    ]


def finished_run(job: OpenedJob) -> FinishedRun:
    """The run of a job, whose file may name a protocol that the run's record does not know of yet.

    Raises:
        BadInput: it is not finished, or a run of this name was made with other settings.
    """
    check_run_name(job.run_folder, job.config, job.plan)
    return replace(open_run(job.run_folder), config=job.config)


def open_run(folder: Folder) -> FinishedRun:
    """Open the run of a folder.

    Raises:
        BadInput: there is none, or it is not finished.
    """
    record = read_record(folder)
    if record is None:
        raise BadInput(
            f"{folder.uri}: no {RUN}, so no run was made here; give a job file that was run, or a run's folder"
        )
    if not {"name", "config", "stages"} <= record.keys():
        raise BadInput(f"{folder.uri}/{RUN} is no whole record of a run: run its job again")
    stages = {name: _stage_folder(folder, name, entry) for name, entry in record["stages"].items()}
    config = recorded_config(record, f"{folder.uri}/{RUN}")
    run = FinishedRun(record["name"], folder, record, config, _in_order(stages))
    _check_complete(run)
    return run


def _stage_folder(run: Folder, name: str, entry: Mapping[str, str]) -> Folder:
    """Where a stage lies: beside the run's folder, also when all was moved; else where the record says."""
    beside = open_folder(f"{run.uri.rsplit('/', 2)[0]}/{name}/{entry['fingerprint']}", s3_options())
    return beside if read_manifest(beside) is not None else open_folder(entry["folder"], s3_options())


def _in_order(stages: Mapping[str, Folder]) -> dict[str, Folder]:
    """Stages in the order in which a job makes them; those that are not known here come last."""
    order = [stage.name for stage in STAGES]
    places = {name: order.index(base_name(name)) if base_name(name) in order else len(order) for name in stages}
    return {name: stages[name] for name in sorted(stages, key=lambda name: (places[name], name))}


def _check_complete(run: FinishedRun) -> None:
    """See that predictions and scores are there and made from what their inputs hold, where those are still there."""
    for name in ("predictions", "scores"):
        if not run.has(name):
            raise BadInput(f"run {run.name}: {name} is not complete; finish it with drp-ray run or drp-ray sweep")
        if set(run.manifests[name].inputs) <= run.manifests.keys() and not is_current(
            run.manifests[name], run.manifests
        ):
            raise BadInput(f"run {run.name}: its {name} are older than what they are made from; run the job again")
