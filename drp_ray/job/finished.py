"""Finished runs as commands read them: by a job file, or by a run's folder on a disk or in a bucket.

Executions that differ only in what is averaged over (`protocols.AVERAGED`) are one group, and stand for one result.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from drp_ray.config import Config, s3_options
from drp_ray.errors import BadInput
from drp_ray.evaluation.user_scores import FROM_PREDICTIONS, UserScores, common_users
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.protocols import find_protocol
from drp_ray.job.run_record import RUN, check_run_name, read_record, recorded_config
from drp_ray.job.sweep import Run, open_sweep
from drp_ray.running.survey import is_current
from drp_ray.storage.folder import Folder, check_reachable, open_folder
from drp_ray.storage.parts import Manifest, part_names, read_manifest, read_rows


@dataclass(frozen=True)
class FinishedRun:
    """A run whose predictions and scores are complete: its settings, and the folders of its stages."""

    name: str
    config: Config
    stages: Mapping[str, Folder]
    users_fingerprint: str

    def has(self, stage: str) -> bool:
        """Whether the run has this stage, complete."""
        return stage in self.stages and _is_done(read_manifest(self.stages[stage]))

    def rows(self, stage: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a complete stage, or some columns of them.

        Raises:
            BadInput: it is not complete.
        """
        self._check_has(stage)
        return read_rows(self.stages[stage], columns)

    def parts(self, stage: str, leaves: Sequence[str]) -> Iterator[pa.Table]:
        """The parts of a complete stage one by one, with some leaf columns (`target.rating`) of their nested ones.

        Raises:
            BadInput: it is not complete.
        """
        self._check_has(stage)
        for name in part_names(self.stages[stage]):
            with self.stages[stage].open(name) as file:
                yield pq.ParquetFile(file).read(columns=list(leaves))

    def _check_has(self, stage: str) -> None:
        if not self.has(stage):
            raise BadInput(f"run {self.name}: {stage} is not complete; finish it with drp-ray run or drp-ray sweep")

    @cached_property
    def scores(self) -> UserScores:
        """The scores of the run, user by user."""
        return UserScores.join(self.rows("predictions", FROM_PREDICTIONS), self.rows("scores"))

    def signatures(self) -> Mapping[str, str]:
        """What every metric was computed with."""
        manifest = read_manifest(self.stages["scores"])
        return {} if manifest is None else dict(manifest.made_from["settings"]["metrics"])


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
    """Open finished runs, each a job file or a run's folder; names that occur twice are told apart by a number.

    Raises:
        BadInput: one is neither, or is not finished.
    """
    found = [group for run in runs for group in _open(run, tuple(overrides))]
    names: dict[str, int] = {}
    groups = []
    for group in found:
        names[group.name] = names.get(group.name, 0) + 1
        number = names[group.name]
        groups.append(group if number == 1 else replace(group, name=f"{group.name}-{number}"))
    return groups


def _open(run: str, overrides: tuple[str, ...]) -> list[RunGroup]:
    if "://" not in run and not Path(run).is_dir():
        return _groups_of_file(Path(run), overrides)
    folder = open_folder(run, s3_options())
    check_reachable(folder)
    found = _finished(folder)
    return [RunGroup(found.name, (found,))]


def _groups_of_file(path: Path, overrides: tuple[str, ...]) -> list[RunGroup]:
    sweep = open_sweep(path, overrides)
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        fixed = tuple(choice.label for choice in run.choices if not choice.is_averaged)
        groups.setdefault(fixed, []).append(run)
    return [
        RunGroup(
            runs[0].job.config.name if len(runs) == 1 else "-".join([sweep.name, *fixed]),
            tuple(_finished_job(run.job) for run in runs),
        )
        for fixed, runs in groups.items()
    ]


def _finished_job(job: OpenedJob) -> FinishedRun:
    check_run_name(job.run_folder, job.config, job.plan)
    # The file may name a protocol that the run's record does not know of yet.
    return replace(_finished(job.run_folder), config=job.config)


def _finished(folder: Folder) -> FinishedRun:
    record = read_record(folder)
    if record is None:
        raise BadInput(
            f"{folder.uri}: no {RUN}, so no run was made here; give a job file that was run, or a run's folder"
        )
    stages = {name: _stage_folder(folder, name, entry) for name, entry in record["stages"].items()}
    config = recorded_config(record, f"{folder.uri}/{RUN}")
    run = FinishedRun(record["name"], config, stages, record["stages"]["users"]["fingerprint"])
    _check_complete(run)
    return run


def _stage_folder(run: Folder, name: str, entry: Mapping[str, str]) -> Folder:
    """Where a stage lies: beside the run's folder, also when all was moved; else where the record says."""
    beside = open_folder(f"{run.uri.rsplit('/', 2)[0]}/{name}/{entry['fingerprint']}", s3_options())
    return beside if read_manifest(beside) is not None else open_folder(entry["folder"], s3_options())


def _check_complete(run: FinishedRun) -> None:
    manifests = {name: read_manifest(run.stages[name]) for name in ("predictions", "scores") if name in run.stages}
    for name in ("predictions", "scores"):
        if not _is_done(manifests.get(name)):
            raise BadInput(f"run {run.name}: {name} is not complete; finish it with drp-ray run or drp-ray sweep")
    scores = manifests["scores"]
    if scores is None or not is_current(scores, manifests):
        raise BadInput(f"run {run.name}: its scores are older than its predictions; run the job again")


def _is_done(manifest: Manifest | None) -> bool:
    return manifest is not None and manifest.is_done


def shared_users(groups: Sequence[RunGroup]) -> dict[str, frozenset[str]]:
    """The users who are ok in all executions that predict for the same ones, by the fingerprint of `users`."""
    by_users: dict[str, list[UserScores]] = {}
    for group in groups:
        for run in group.executions:
            by_users.setdefault(run.users_fingerprint, []).append(run.scores)
    return {fingerprint: common_users(scores) for fingerprint, scores in by_users.items()}
