"""Turn a plan into stages that can be run: folders get their workers, models their places on the cluster."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray

from drp_ray.config import Config, Model, Role, api_key
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.engines.vllm import MAX_NUM_SEQS
from drp_ray.inputs.catalogue import build_catalogue
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.plan import Plan
from drp_ray.llm.calls import RoleSpec
from drp_ray.running.part_stage import Options, PartStage, Pool, run_part_stage
from drp_ray.running.regrouping import Regrouping, RegroupStage, run_regroup_stage
from drp_ray.stages.comparisons import Compare
from drp_ray.stages.contexts import ContextParts
from drp_ray.stages.differences import Differ
from drp_ray.stages.embeddings import Embed
from drp_ray.stages.items import ItemParts
from drp_ray.stages.peers import Finder, PeerParts
from drp_ray.stages.peers_contrast import Contrast
from drp_ray.stages.peers_neighbour import Neighbour
from drp_ray.stages.predictions import Predict
from drp_ray.stages.retrieved import Retrieve
from drp_ray.stages.scores import ALL_METRICS, Score
from drp_ray.stages.users import UserParts
from drp_ray.storage.parts import Manifest

Stage = PartStage | RegroupStage
EMBEDDED_TOGETHER = 8
"""Parts that an embedding worker is given at once."""


def run_stage(stage: Stage, options: Options) -> Manifest:
    """Run what is pending of a stage."""
    if isinstance(stage, RegroupStage):
        return run_regroup_stage(stage, options)
    return run_part_stage(stage, options)


class StageBuilder:
    """Makes the stages of one job. A dataset's catalogue is built with the first stage that needs it."""

    def __init__(self, config: Config, plan: Plan, dataset: Dataset, wordnet: Path, catalogues: dict[str, Any]) -> None:
        self._config, self._plan, self._dataset, self._wordnet = config, plan, dataset, wordnet
        self._catalogues = catalogues

    def build(self, name: str) -> Stage:
        """Make the stage of this name."""
        stage: Stage = getattr(self, f"_{name}")()
        return stage

    def _users(self) -> Stage:
        parts = UserParts(self._dataset, self._config.users, self._config.runtime.rows_per_part)
        return self._regroup_stage("users", parts)

    def _retrieved(self) -> Stage:
        worker = Retrieve(self._shared_catalogue(), self._config.retrieval, self._config.selection.k)
        return self._part_stage("retrieved", "users", worker)

    def _items(self) -> Stage:
        stages = self._plan.stages
        parts = ItemParts(
            self._dataset,
            stages["users"].folder,
            stages["retrieved"].folder,
            self._shared_catalogue(),
            self._config.runtime.rows_per_part,
        )
        return self._regroup_stage("items", parts)

    def _embeddings(self) -> Stage:
        settings = self._config.embedding
        pool = Pool(settings.replicas, settings.num_gpus, parts_in_flight=EMBEDDED_TOGETHER)
        return self._part_stage("embeddings", "items", Embed(settings), pool, expected_rows="texts")

    def _comparisons(self) -> Stage:
        worker = Compare(self._plan.stages["embeddings"].folder, self._config.selection)
        return self._part_stage("comparisons", "items", worker, expected_rows="requests")

    def _differences(self) -> Stage:
        programme = self._plan.differences
        assert programme is not None
        worker = Differ(
            **self._models(programme.roles),
            programme=programme.name,
            prompts=self._plan.prompts,
            dimensions=self._config.differences.dimensions,
        )
        return self._part_stage("differences", "comparisons", worker, self._pool(programme.roles))

    def _peers(self) -> Stage:
        folders = {name: info.folder for name, info in self._plan.stages.items()}
        catalogue, as_of = self._shared_catalogue(), self._config.selection.as_of
        finder: Finder
        if self._plan.method.needs == "contrast":
            seed = self._config.selection.seed
            finder = Contrast(folders["users"], folders["retrieved"], catalogue, seed, as_of)
        else:
            used = (folders["users"], folders["items"], folders["embeddings"])
            finder = Neighbour(*used, catalogue, self._config.retrieval, as_of)
        return self._regroup_stage("peers", PeerParts(self._dataset, folders["users"], finder))

    def _contexts(self) -> Stage:
        folders = {name: info.folder for name, info in self._plan.stages.items()}
        parts = ContextParts(
            folders["users"],
            folders["retrieved"],
            self._shared_catalogue(),
            self._plan.method.needs,
            folders.get("differences"),
            self._config.differences.source,
            folders.get("peers"),
        )
        return self._regroup_stage("contexts", parts)

    def _predictions(self) -> Stage:
        method = self._plan.method
        worker = Predict(**self._models(method.roles), method=method.name, prompts=self._plan.prompts)
        return self._part_stage("predictions", "contexts", worker, self._pool(method.roles))

    def _scores(self) -> Stage:
        return self._part_stage("scores", "predictions", Score(ALL_METRICS, self._wordnet))

    def _part_stage(
        self, name: str, source: str, worker: Any, pool: Pool | None = None, expected_rows: str = "rows"
    ) -> PartStage:
        stages = self._plan.stages
        return PartStage(stages[name], stages[source], worker, pool, expected_rows)

    def _regroup_stage(self, name: str, parts: Regrouping) -> Stage:
        info = self._plan.stages[name]
        return RegroupStage(info, [self._plan.stages[source] for source in info.made_from["inputs"]], parts)

    def _shared_catalogue(self) -> Any:
        uri = self._dataset.folder.uri
        if uri not in self._catalogues:
            self._catalogues[uri] = ray.remote(num_cpus=1)(build_catalogue).remote(self._dataset)
        return self._catalogues[uri]

    def _models(self, roles: Iterable[Role]) -> dict[str, Any]:
        config = self._config
        return {
            "models": {name: model_spec(config.models[name]) for name in models_of(config, roles)},
            "roles": {role: _role_spec(config, role) for role in roles},
            "seed": config.sampling.seed,
            "max_attempts": config.runtime.max_attempts,
        }

    def _pool(self, roles: Iterable[Role]) -> Pool:
        return pool_of([self._config.models[name] for name in models_of(self._config, roles)], self._config)


def models_of(config: Config, roles: Iterable[Role]) -> list[str]:
    """The models that play some roles."""
    return sorted({config.model_of(role) for role in roles})


def pool_of(models: list[Model], config: Config) -> Pool:
    """Actors that each hold all models of a stage, with enough parts at once to keep their engines busy."""
    rows = min(model.concurrency or model.engine_args.get("max_num_seqs", MAX_NUM_SEQS) for model in models)
    return Pool(
        replicas=min(model.replicas for model in models),
        num_gpus=sum(model.gpus for model in models),
        parts_in_flight=1 + -(-2 * rows // config.runtime.rows_per_part),
    )


def model_spec(model: Model) -> ModelSpec:
    """What an engine needs to know of a model."""
    return ModelSpec(
        engine=model.engine,
        id=model.id,
        revision=model.revision,
        tensor_parallel=model.tensor_parallel,
        max_model_len=model.max_model_len,
        engine_args=model.engine_args,
        seeds=model.seeds,
        chat_template_kwargs=model.chat_template_kwargs,
        trust_remote_code=model.trust_remote_code,
        base_url=model.base_url,
        api_key=api_key(model),
        concurrency=model.concurrency,
        timeout_s=model.timeout_s,
        max_retries=model.max_retries,
    )


def _role_spec(config: Config, role: Role) -> RoleSpec:
    name, sampling = config.model_of(role), config.sampling.of(role)
    drawn = Sampling(sampling.temperature, sampling.top_p, sampling.max_tokens)
    return RoleSpec(name, drawn, config.models[name].system_prompt)
