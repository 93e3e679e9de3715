"""What a stage is: one definition that says all that the rest of the package asks about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from drp_ray.config import Config, Embedding, Model
from drp_ray.inputs.catalogue import build_catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.methods.base import DifferenceProgramme, Method
from drp_ray.prompts.pack import PromptPack
from drp_ray.running.stage_info import Regrouping
from drp_ray.running.worker import Pool, Worker
from drp_ray.storage.folder import Folder


@dataclass(frozen=True)
class JobSpec:
    """What a job computes: its configuration, what that names, and what the dataset's files hold."""

    config: Config
    method: Method
    differences: DifferenceProgramme | None
    prompts: PromptPack
    dataset_identity: Mapping[str, str]


@dataclass(frozen=True)
class StageContext:
    """What the work of a stage is made with: the job, its dataset, the folders of its stages, and a local cache.

    `catalogues` has the item catalogues that this process has built, by dataset and how that is
    read: jobs of one sweep share it. To build one takes a CPU, for which `make_room` is called first.
    """

    spec: JobSpec
    dataset: Dataset
    folders: Mapping[str, Folder]
    cache: Path
    catalogues: dict[Dataset, Any]
    make_room: Callable[[], None] = lambda: None

    @property
    def config(self) -> Config:
        """The job's configuration."""
        return self.spec.config

    def catalogue(self) -> Any:
        """Ray's reference to the dataset's item catalogue, which is built when it is first asked for."""
        if self.dataset not in self.catalogues:
            self.make_room()
            self.catalogues[self.dataset] = built_on_ray(build_catalogue, self.dataset)
        return self.catalogues[self.dataset]


def built_on_ray(build: Callable[[Dataset], pa.Table], dataset: Dataset) -> Any:
    """Ray's reference to a table that a task has built; waits for it.

    Tasks that wait for another task keep their CPUs: on a small machine that other one would never get any.
    """
    table = ray.remote(num_cpus=1)(build).remote(dataset)
    ray.wait([table], fetch_local=False)
    return table


@dataclass(frozen=True)
class Resources:
    """What a stage holds on the cluster while it runs: a pool of workers, and the models that each of them loads."""

    pool: Pool
    models: Mapping[str, Model] = field(default_factory=dict)
    embedder: Embedding | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of every job, or of the jobs for which `is_needed` says so.

    `inputs` are the stages that it reads. Where `make` returns a `Worker`, an output part is a function of the part of
    the same name of the first input; where it returns a `Regrouping`, the stage is made whole or not at all.
    `settings` are all values that can change its rows: they are hashed into its fingerprint, with `version`, which is
    raised when a change to the code changes rows. `from_libraries` names those settings that follow from the libraries
    installed here and not from the job. `expected_rows` is the fact of an input part that says how many rows its
    output part has, times `rows_each`. A stage that `only_evaluates` what was predicted may be added to a finished run,
    or left out of it: it is no part of what the run's name stands for. A stage that `reads_dataset` itself, or the
    catalogue that is built of it, counts as done only where the dataset is still what it was. A stage that a job may
    have several times, under names such as `judgements-NAME`, says in `variants` which ones a job has.
    """

    name: str
    version: int
    inputs: Callable[[JobSpec], tuple[str, ...]]
    make: Callable[[StageContext], Worker | Regrouping]
    settings: Callable[[JobSpec], Mapping[str, Any]] = lambda spec: {}
    from_libraries: tuple[str, ...] = ()
    resources: Callable[[JobSpec], Resources | None] = lambda spec: None
    is_needed: Callable[[JobSpec], bool] = lambda spec: True
    expected_rows: str = "rows"
    rows_each: Callable[[JobSpec], int] = lambda spec: 1
    only_evaluates: bool = False
    reads_dataset: bool = False
    variants: "Callable[[JobSpec], tuple[Stage, ...]] | None" = None

    def of_job(self, spec: JobSpec) -> "tuple[Stage, ...]":
        """The stages of a job that this definition stands for: itself, none, or its variants."""
        if self.variants is not None:
            return self.variants(spec)
        return (self,) if self.is_needed(spec) else ()


def base_name(stage: str) -> str:
    """The name in `STAGES` of a stage of a job: `judgements` of `judgements-NAME`."""
    return stage.partition("-")[0]


def after(*names: str) -> Callable[[JobSpec], tuple[str, ...]]:
    """The inputs of a stage that reads the same stages in every job."""
    return lambda spec: names


def for_need(name: str) -> Callable[[JobSpec], bool]:
    """Whether a job has the stage `name`: its method says so."""
    return lambda spec: name in spec.method.needs.stages
