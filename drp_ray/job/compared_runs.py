"""The runs that are compared: what a RUN of the command line names, and what is read of it.

A RUN is a job file or a run's folder. A job file whose settings are lists is a sweep: what is averaged over (`AVERAGED`
in `sweep`) makes executions of one run, every combination of the other lists is a run of its own. Of a run's folder
only storage is read: neither the dataset nor the method's code need be there.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from drp_ray.config import Evaluation, Runtime, cache_folder, s3_options
from drp_ray.errors import BadInput
from drp_ray.evaluation.metrics.base import Measure, Metric, open_metrics
from drp_ray.evaluation.statistics import Matrix
from drp_ray.evaluation.user_scores import UserScores
from drp_ray.job.protocols import Place
from drp_ray.job.result import user_scores_in
from drp_ray.job.run_record import RUN, Record, read_record
from drp_ray.job.sweep import Run, Sweep, open_sweep
from drp_ray.running.survey import is_current
from drp_ray.storage.folder import Folder, check_reachable, open_folder
from drp_ray.storage.parts import Manifest, read_manifest, read_rows


@dataclass(frozen=True)
class Execution:
    """One finished job: what was asked of it, the folders of its stages, and the command that finishes it.

    `evaluation` says what it was measured with; `cache` is the folder for what is fetched once a machine.
    """

    name: str
    method: str
    evaluation: Evaluation
    cache: Path
    folders: Mapping[str, Folder]
    command: str


@dataclass(frozen=True)
class ComparedRun:
    """What is compared with others under one name: executions that are averaged over."""

    name: str
    executions: tuple[Execution, ...]


@dataclass(frozen=True)
class Scored:
    """What is read of an execution: arrays with an entry a user, in user_id order.

    `targets` are digests of item and reference. `columns` has the columns of each measure, NaN where there is no value;
    `signatures` say what they were computed with. `with_failures` are the numbers over all users, where each failed one
    counts as an empty text.
    """

    name: str
    users: NDArray[np.object_]
    is_ok: NDArray[np.bool_]
    items: NDArray[np.object_]
    targets: NDArray[np.object_]
    measures: Sequence[Measure]
    columns: Mapping[str, Matrix]
    signatures: Mapping[str, str | None]
    with_failures: Mapping[str, float | None]


def open_runs(names: Sequence[str]) -> list[ComparedRun]:
    """Open all runs, in the order given; runs of one name are told apart by a number.

    Raises:
        BadInput: a name is neither a job file nor a run's folder, or fewer than two runs come of them.
    """
    runs = [run for name in names for run in _open(name)]
    if len(runs) < 2:
        raise BadInput(f"compare: {' '.join(names)} is one run; name at least two")
    taken: set[str] = set()
    told_apart = []
    for run in runs:
        name = next(name for name in _numbered(run.name) if name not in taken)
        taken.add(name)
        told_apart.append(replace(run, name=name))
    return told_apart


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _open(name: str) -> list[ComparedRun]:
    if "://" not in name and Path(name).is_file():
        return runs_of_sweep(open_sweep(Path(name)), name)
    folder = open_folder(name.rstrip("/"), s3_options())
    check_reachable(folder)
    record = read_record(folder)
    if record is None:
        raise BadInput(f"{name}: neither a job file nor the folder of a run (which holds {RUN})")
    return [_recorded(folder, record)]


def runs_of_sweep(sweep: Sweep, file: str) -> list[ComparedRun]:
    """The combinations of a job file, those that are averaged over as executions of one run."""
    command = f"drp-ray {'run' if len(sweep.runs) == 1 else 'sweep'} {file}"
    groups: dict[tuple[tuple[Place, str], ...], list[Run]] = {}
    for run in sweep.runs:
        fixed = tuple((choice.place, choice.label) for choice in run.choices if not choice.is_averaged)
        groups.setdefault(fixed, []).append(run)
    return [ComparedRun(_name(sweep, runs), tuple(_planned(run, command) for run in runs)) for runs in groups.values()]


def _name(sweep: Sweep, runs: Sequence[Run]) -> str:
    """As the sweep names its runs, without what is averaged over."""
    fixed = [choice.label for choice in runs[0].choices if not choice.is_averaged]
    return runs[0].job.config.name if len(fixed) == len(runs[0].choices) else "-".join([sweep.name, *fixed])


def _planned(run: Run, command: str) -> Execution:
    folders = {name: info.folder for name, info in run.job.plan.stages.items()}
    config = run.job.config
    return Execution(config.name, config.method, config.evaluation, run.job.cache, folders, command)


def _recorded(folder: Folder, record: Record) -> ComparedRun:
    where = f"{folder.uri}/{RUN}"
    if not {"name", "config", "stages"} <= record.keys():
        raise BadInput(f"{where} is no whole record of a run: run its job again")
    name, settings = record["name"], record["config"]
    try:
        evaluation = Evaluation.model_validate(settings.get("evaluation", {}))
        runtime = Runtime(cache=settings.get("runtime", {}).get("cache"))
    except ValidationError as error:
        raise BadInput(f"{where}: its settings are not of this version of drp-ray: {error}") from error
    folders = {
        stage: _stage_folder(folder, stage, made["fingerprint"], made["folder"])
        for stage, made in record["stages"].items()
    }
    command = f"drp-ray run JOB.yaml, with the job file of the run {name!r}"
    return ComparedRun(
        name, (Execution(name, settings["method"], evaluation, cache_folder(runtime), folders, command),)
    )


def _stage_folder(run: Folder, stage: str, fingerprint: str, folder: str) -> Folder:
    """A stage's folder beside `runs`, where it is also after all results were moved; else where it was made."""
    results, runs, _ = run.uri.rpartition("/runs/")
    beside = open_folder(results, s3_options()).at(stage, fingerprint)
    return beside if runs and read_manifest(beside) is not None else open_folder(folder, s3_options())


def measures_of(execution: Execution) -> list[Measure]:
    """All that an execution has values of, user by user."""
    return list(open_metrics(execution.evaluation, execution.cache))


def read(execution: Execution) -> Scored:
    """Read an execution's scores.

    Raises:
        BadInput: it is not finished, or its inputs changed since.
    """
    scores_manifest = _finished(execution)["scores"]
    scores, measures = user_scores_in(execution.folders), measures_of(execution)
    targets = read_rows(execution.folders["predictions"], ("user_id", "item_id")).sort_by("user_id")
    items = targets["item_id"].to_pylist()
    recorded = scores_manifest.made_from["settings"].get("metrics", {})
    return Scored(
        name=execution.name,
        users=_objects(scores.table["user_id"].to_pylist()),
        is_ok=np.array([status == "ok" for status in scores.table["status"].to_pylist()], np.bool_),
        items=_objects(items),
        targets=_objects(
            [_digest(*target) for target in zip(items, scores.table["reference"].to_pylist(), strict=True)]
        ),
        measures=measures,
        columns={measure.name: _columns(measure, scores.table) for measure in measures},
        signatures={
            measure.name: recorded.get(measure.name, getattr(measure, "full_signature", None)) for measure in measures
        },
        with_failures=_with_failures(scores, measures),
    )


def _finished(execution: Execution) -> Mapping[str, Manifest]:
    """The manifests of a finished job's stages."""
    manifests = {name: read_manifest(folder) for name, folder in execution.folders.items()}
    finished = {name: manifest for name, manifest in manifests.items() if manifest is not None}
    for name in execution.folders:
        if not is_current(manifests[name], manifests):
            raise BadInput(f"{execution.name}: {name} is not complete; finish the run first: {execution.command}")
    return finished


def _with_failures(scores: UserScores, measures: Sequence[Measure]) -> dict[str, float | None]:
    """Of the measures that can score a text here, and of all metrics where no text is to be scored."""
    has_failures = scores.users != scores.ok_users
    able = [
        each
        for each in measures
        if isinstance(each, Metric) and _has_values(each, scores.table) and not (has_failures and each.missing())
    ]
    return {name: number.value for name, number in scores.numbers_with_failures(able).items()}


def _columns(measure: Measure, table: pa.Table) -> Matrix:
    """The columns of a measure; all NaN where the scores are from before the measure was there."""
    if not _is_there(measure, table):
        return np.full((len(table), len(measure.columns)), np.nan)
    columns = [table[field.name].cast(pa.float64()).to_numpy() for field in measure.columns]
    return np.column_stack(columns).astype(np.float64)


def _is_there(measure: Measure, table: pa.Table) -> bool:
    return {field.name for field in measure.columns} <= set(table.column_names)


def _has_values(measure: Measure, table: pa.Table) -> bool:
    return _is_there(measure, table) and table[measure.name].null_count < len(table)


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _digest(item: str, reference: str) -> bytes:
    return hashlib.sha256(f"{item}\0{reference}".encode(errors="surrogatepass")).digest()[:16]
