"""What stages that ask language models have in common: settings, resources, and the arguments of their workers."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from drp_ray.config import Model, Role, api_key, s3_options
from drp_ray.engines.base import ModelSpec, Sampling
from drp_ray.engines.gpus import gpus_of_worker
from drp_ray.engines.vllm import MAX_NUM_SEQS
from drp_ray.inputs.import_path import source_digest
from drp_ray.inputs.packaged_model import locate_language_model
from drp_ray.llm.kept import KEPT, KeepSettings
from drp_ray.llm.memory import Memory, earlier_folders
from drp_ray.llm.replies import Thinking
from drp_ray.llm.row_caller import RoleSpec
from drp_ray.methods.base import Programme
from drp_ray.running.worker import Pool
from drp_ray.stages.stage import JobSpec, Resources, StageContext
from drp_ray.storage.fingerprint import model_identity
from drp_ray.storage.folder import parent_of

ALWAYS_THINKS = re.compile(r"deepseek-?r1|r1-distill|deepseek-reasoner|qwq|thinking", re.IGNORECASE)
"""Names of models that think before every answer."""

REUSED_FROM = {"differences": "comparisons", "predictions": "contexts"}
"""The stages with rows that `runtime.reuse` takes over, and the input that holds what their answers depend on."""

NEUTRAL_ENGINE_ARGS = frozenset(
    {
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "num_gpu_blocks_override",
        "swap_space",
        "cpu_offload_gb",
        "block_size",
        "enable_prefix_caching",
        "max_num_seqs",
        "max_num_batched_tokens",
        "max_num_partial_prefills",
        "max_long_partial_prefills",
        "long_prefill_token_threshold",
        "enable_chunked_prefill",
        "scheduling_policy",
        "async_scheduling",
        "enforce_eager",
        "distributed_executor_backend",
        "disable_custom_all_reduce",
        "max_parallel_loading_workers",
        "download_dir",
        "use_tqdm_on_load",
        "disable_log_stats",
        "enable_log_requests",
        "otlp_traces_endpoint",
        "collect_detailed_traces",
    }
)
"""Engine arguments about memory, batching, loading and logging, which change no result. All others are in the
fingerprint, also those that nobody here has heard of."""

NEUTRAL_LOAD_FORMATS = (("load_format", "auto"), ("load_format", "safetensors"))
"""How the weights of the model themselves are read, from whichever files it has. Other formats may load other weights,
or none (`dummy`)."""


def asking_settings(spec: JobSpec, programme: Programme) -> dict[str, Any]:
    """What a programme's rows depend on: itself with its fallbacks, templates, and each role's model and sampling."""
    # Those of version 1 are not named, so that folders keep the names that they had when none was.
    fallbacks = {each.name: each.version for each in programme.fallbacks if each.version > 1}
    return {
        "programme": programme.name,
        "version": programme.version,
        **({"fallbacks": fallbacks} if fallbacks else {}),
        "prompts": spec.prompts.sources_of(programme.templates),
        "seed": spec.config.sampling.seed,
        "roles": {role: _role_settings(spec, role) for role in programme.roles},
        **programme.origin,
    }


def _role_settings(spec: JobSpec, role: Role) -> dict[str, Any]:
    model = spec.config.models[spec.config.model_of(role)]
    return {"model": _model_settings(model), "sampling": spec.config.sampling.of(role).model_dump(exclude_none=True)}


def _model_settings(model: Model) -> dict[str, Any]:
    """What identifies a model: not its replicas and memory.

    An endpoint is identified by its address, since two of them may call different models alike, unless
    `models.NAME.identity` says what it serves.
    """
    endpoint = {"endpoint": model.identity or model.public_base_url} if model.engine != "vllm" else {}
    own_engine = {"engine_source": source_digest(model.engine)} if ":" in model.engine else {}
    return {
        "engine": model.engine,
        **own_engine,
        **model_identity(_located(model), model.revision),
        **endpoint,
        "trust_remote_code": model.trust_remote_code,
        "max_model_len": model.max_model_len,
        "system_prompt": model.system_prompt,
        "seeds": model.seeds,
        "thinking": model.thinking,
        "chat_template_kwargs": model.chat_template_kwargs,
        "engine_args": {key: value for key, value in model.engine_args.items() if _changes_results(key, value)},
    }


def _changes_results(key: str, value: Any) -> bool:
    return key not in NEUTRAL_ENGINE_ARGS and (key, value) not in NEUTRAL_LOAD_FORMATS


def _located(model: Model) -> str:
    """A model that a package carries is known by its content, as a folder is."""
    return locate_language_model(model.id, "models") if model.engine == "vllm" else model.id


def asking_resources(spec: JobSpec, programme: Programme) -> Resources:
    """Workers that each hold all models of a stage.

    A worker asks for parts as far as its seats go. Only where nearly every part waits for a last row does their number
    limit it.
    """
    names = sorted({spec.config.model_of(role) for role in programme.roles})
    models = {name: spec.config.models[name] for name in names}
    rows = min(model.concurrency or model.engine_args.get("max_num_seqs", MAX_NUM_SEQS) for model in models.values())
    pool = Pool(
        replicas=min(model.replicas.max for model in models.values()),
        fewest=min(model.replicas.min for model in models.values()),
        num_gpus=gpus_of_worker({name: model.gpus for name, model in models.items()}),
        num_cpus=max(model.num_cpus for model in models.values()),
        parts_in_flight=1 + math.ceil(8 * rows / spec.config.runtime.rows_per_part),
    )
    return Resources(pool, models)


def asking_arguments(context: StageContext, stage: str, programme: Programme) -> dict[str, Any]:
    """The arguments of a `ModelWorker` that runs a programme for a stage."""
    spec = context.spec
    models, keep = asking_resources(spec, programme).models, spec.config.runtime.keep
    return {
        "models": {name: ModelSpec.of(model, api_key(model)) for name, model in models.items()},
        "roles": {role: _role_spec(spec, role) for role in programme.roles},
        "seed": spec.config.sampling.seed,
        "max_attempts": spec.config.runtime.max_attempts,
        "keep": KeepSettings(context.folders[stage].at(KEPT), "thinking" in keep, "prompts" in keep),
    }


def memory_of(context: StageContext, stage: str, version: int, settings: Mapping[str, Any]) -> Memory:
    """Where `runtime.reuse` is set, the stage's earlier folders; else none."""
    if not context.config.runtime.reuse:
        return Memory()
    source = REUSED_FROM[stage]
    own, inputs = context.folders[stage], context.folders[source]
    made_from = {"version": version, "settings": json.loads(json.dumps(settings))}
    siblings = parent_of(own, s3_options())
    return Memory(
        earlier_folders(siblings, own.uri.rpartition("/")[2], parent_of(inputs, s3_options()), source, made_from)
    )


def _role_spec(spec: JobSpec, role: Role) -> RoleSpec:
    name = spec.config.model_of(role)
    sampling = Sampling(**spec.config.sampling.of(role).model_dump())
    model = spec.config.models[name]
    return RoleSpec(name, sampling, model.system_prompt, thinking_of(model))


def thinking_of(model: Model) -> Thinking:
    """How the thinking in a model's replies is found.

    `auto` looks for its tags. The vLLM engine sees a template that opens the thinking itself; an endpoint does not show
    its template, so a model that is known to think always does.
    """
    if model.thinking == "auto" and model.engine == "openai" and ALWAYS_THINKS.search(model.id):
        return "always"
    return model.thinking
