"""What a job consists of: its stages, where each is kept and what each is made from. Pure: nothing is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drp_ray.config import Config, Model, Role
from drp_ray.errors import BadInput, nearest
from drp_ray.evaluation.metrics import open_metrics
from drp_ray.methods.base import DIFFERENCES, METHODS, DifferenceProgramme, Method, Programme
from drp_ray.prompts.pack import PromptPack
from drp_ray.running.part_stage import StageInfo
from drp_ray.stages.embedder import locate_model
from drp_ray.stages.scores import ALL_METRICS
from drp_ray.storage.fingerprint import fingerprint
from drp_ray.storage.folder import Folder
from drp_ray.storage.model_identity import model_identity

VERSIONS = {
    "users": 1,
    "retrieved": 1,
    "items": 1,
    "embeddings": 1,
    "comparisons": 1,
    "differences": 2,
    "peers": 1,
    "contexts": 2,
    "predictions": 2,
    "scores": 1,
}
"""The stages in their order. Raise a stage's version when a change to its code changes its results."""


@dataclass(frozen=True)
class Plan:
    """The stages of a job by name, in order, and the programmes that its LLM stages run."""

    stages: Mapping[str, StageInfo]
    method: Method
    differences: DifferenceProgramme | None
    prompts: PromptPack

    @property
    def programmes(self) -> dict[str, Programme]:
        """What the stages that ask language models run."""
        found = {"differences": self.differences, "predictions": self.method}
        return {stage: programme for stage, programme in found.items() if programme is not None}

    def roles(self) -> tuple[Role, ...]:
        """The roles that are asked, in all stages."""
        return tuple(sorted({role for programme in self.programmes.values() for role in programme.roles}))


def make_plan(config: Config, dataset_name: str, dataset_identity: Mapping[str, str], root: Folder) -> Plan:
    """Name every stage's folder.

    Raises:
        BadInput: the method, a role's model or the prompt pack is not there.
    """
    method = find_method(config.method)
    differences = DIFFERENCES.get(method.name) if method.needs == "differences" else None
    prompts = PromptPack.load(Path(config.prompts) if config.prompts else None)
    plan = _Planner(config, root.at(dataset_name))
    plan.add("users", {"dataset": dict(dataset_identity), "users": _users(config)})
    plan.add("retrieved", {**_settings(config.retrieval), "k": config.selection.k}, "users")
    if method.needs in ("differences", "neighbour"):
        plan.add("items", {}, "users", "retrieved")
        plan.add("embeddings", _embedding(config), "items")
    besides, besides_settings = _besides(plan, method, differences, prompts)
    plan.add("contexts", besides_settings, "users", "retrieved", *besides)
    plan.add("predictions", plan.asks(method, prompts), "contexts")
    plan.add("scores", {"metrics": _signatures()}, "predictions")
    return Plan(plan.stages, method, differences, prompts)


def _besides(
    plan: "_Planner", method: Method, differences: DifferenceProgramme | None, prompts: PromptPack
) -> tuple[list[str], dict[str, Any]]:
    """Add the stages that find what a method needs besides past reviews; their last one, and the contexts' settings."""
    config = plan.config
    if differences is not None:
        plan.add("comparisons", _settings(config.selection), "items", "embeddings")
        dimensions = {"dimensions": list(config.differences.dimensions)}
        plan.add("differences", {**plan.asks(differences, prompts), **dimensions}, "comparisons")
        return ["differences"], {"source": config.differences.source}
    if method.needs == "contrast":
        drawn = {"seed": config.selection.seed, "as_of": config.selection.as_of}
        plan.add("peers", {"find": "contrast", **drawn}, "users", "retrieved")
        return ["peers"], {}
    if method.needs == "neighbour":
        ranked = {**_settings(config.retrieval), "as_of": config.selection.as_of}
        plan.add("peers", {"find": "neighbour", **ranked}, "users", "items", "embeddings")
        return ["peers"], {}
    return [], {"profile": True} if method.needs == "profile" else {}


def find_method(name: str) -> Method:
    """Look a method up.

    Raises:
        BadInput: there is none of this name.
    """
    if name not in METHODS:
        raise BadInput(f"method: there is no method {name!r}; {nearest(name, METHODS)}")
    return METHODS[name]


class _Planner:
    """Adds stages, each fingerprinted with what it is made from."""

    def __init__(self, config: Config, folder: Folder) -> None:
        self.stages: dict[str, StageInfo] = {}
        self.config, self._folder = config, folder

    def add(self, name: str, settings: Mapping[str, Any], *inputs: str) -> None:
        """Add a stage that is made from settings and from earlier stages."""
        made_from = {
            "stage": name,
            "version": VERSIONS[name],
            "settings": dict(settings),
            "inputs": {source: self.stages[source].fingerprint for source in inputs},
        }
        print_ = fingerprint(made_from)
        self.stages[name] = StageInfo(name, print_, made_from, self._folder.at(name, print_))

    def asks(self, programme: Programme, prompts: PromptPack) -> dict[str, Any]:
        """What a programme's results depend on: itself, its templates, and for each role the model and sampling."""
        return {
            "programme": programme.name,
            "version": programme.version,
            "prompts": prompts.sources_of(programme.templates),
            "seed": self.config.sampling.seed,
            "roles": {role: self._role(role) for role in programme.roles},
        }

    def _role(self, role: Role) -> dict[str, Any]:
        model = self.config.models[self.config.model_of(role)]
        return {"model": _model(model), "sampling": self.config.sampling.of(role).model_dump()}


def _model(model: Model) -> dict[str, Any]:
    """What identifies a model: not its replicas, memory or addresses."""
    return {
        "engine": model.engine,
        **model_identity(model.id, model.revision),
        "max_model_len": model.max_model_len,
        "system_prompt": model.system_prompt,
        "seeds": model.seeds,
        "chat_template_kwargs": model.chat_template_kwargs,
        "engine_args": {key: value for key, value in model.engine_args.items() if key in RESULT_ENGINE_ARGS},
    }


RESULT_ENGINE_ARGS = frozenset({"dtype", "quantization", "kv_cache_dtype", "hf_overrides", "rope_scaling"})
"""Engine arguments that change what the model computes; the others say how much memory or which kernels it uses."""


def _embedding(config: Config) -> dict[str, Any]:
    settings = config.embedding
    return {
        "engine": settings.engine,
        **model_identity(locate_model(settings), settings.revision),
        "trust_remote_code": settings.trust_remote_code,
        "max_tokens": settings.max_tokens,
    }


def _users(config: Config) -> dict[str, Any]:
    """Who is predicted for; the seed changes nothing where nobody is drawn."""
    chosen = config.users.model_dump(exclude={"seed"})
    return {**chosen, "seed": config.users.seed} if config.users.sample is not None else chosen


def _settings(section: Any) -> dict[str, Any]:
    return dict(section.model_dump(mode="json"))


def _signatures() -> dict[str, str]:
    return {metric.name: metric.signature for metric in open_metrics(ALL_METRICS, Path())}
