"""What a job consists of: its stages, where each is kept and what each is made from. Pure: nothing is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drp_ray.config import Config, Model
from drp_ray.methods.lookup import find_differences, find_method
from drp_ray.prompts.pack import PromptPack
from drp_ray.running.stage_info import StageInfo
from drp_ray.stages.order import STAGES
from drp_ray.stages.stage import JobSpec, Resources, Stage
from drp_ray.stages.strategies.base import find_strategy
from drp_ray.storage.fingerprint import fingerprint
from drp_ray.storage.folder import Folder


@dataclass(frozen=True)
class Plan:
    """The stages of a job by name, in order: their definitions, and where each is kept."""

    spec: JobSpec
    definitions: Mapping[str, Stage]
    stages: Mapping[str, StageInfo]

    def resources(self) -> dict[str, Resources]:
        """What the stages that hold models need of the cluster."""
        needed = {name: stage.resources(self.spec) for name, stage in self.definitions.items()}
        return {name: resources for name, resources in needed.items() if resources is not None}

    def models(self) -> dict[str, Model]:
        """The language models that the job asks, by name."""
        return {
            name: model for resources in self.resources().values() for name, model in sorted(resources.models.items())
        }


def make_plan(config: Config, dataset_name: str, dataset_identity: Mapping[str, str], root: Folder) -> Plan:
    """Name every stage's folder.

    Raises:
        BadInput: the method, the strategy, a role's model or the prompt pack is not there.
    """
    spec = job_spec(config, dataset_identity)
    definitions = {stage.name: stage for each in STAGES for stage in each.of_job(spec)}
    stages: dict[str, StageInfo] = {}
    for stage in definitions.values():
        stages[stage.name] = _info(stage, spec, stages, root.at(dataset_name))
    return Plan(spec, definitions, stages)


def job_spec(config: Config, dataset_identity: Mapping[str, str]) -> JobSpec:
    """Look up all that a configuration names.

    Raises:
        BadInput: the method, the strategy or the prompt pack is not there.
    """
    find_strategy(config.selection.strategy)
    method = find_method(config.method)
    prompts = PromptPack.load(Path(config.prompts) if config.prompts else None)
    return JobSpec(config, method, find_differences(method), prompts, dataset_identity)


def _info(stage: Stage, spec: JobSpec, earlier: Mapping[str, StageInfo], folder: Folder) -> StageInfo:
    made_from = {
        "stage": stage.name,
        "version": stage.version,
        "settings": dict(stage.settings(spec)),
        "inputs": {name: earlier[name].fingerprint for name in stage.inputs(spec)},
    }
    hashed = fingerprint(made_from)
    return StageInfo(stage.name, hashed, made_from, folder.at(stage.name, hashed))
