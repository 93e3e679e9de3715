"""Language model engines. Each module holds one engine; `base` says what they have in common."""

from drp_ray.engines.base import (
    CallGivenUp,
    Completion,
    EndpointRefuses,
    Engine,
    EngineDied,
    Message,
    ModelNotLoaded,
    ModelSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from drp_ray.errors import BadInput, nearest
from drp_ray.inputs.import_path import load_object

__all__ = [
    "CallGivenUp",
    "Completion",
    "EndpointRefuses",
    "Engine",
    "EngineDied",
    "Message",
    "ModelNotLoaded",
    "ModelSpec",
    "PromptTooLong",
    "RequestRefused",
    "Sampling",
    "make_engine",
]

# Import paths, not classes: the module of an engine is imported only where that engine is made.
ENGINES = {
    "vllm": "drp_ray.engines.vllm:VllmEngine",
    "openai": "drp_ray.engines.openai:OpenAIEngine",
}


def make_engine(spec: ModelSpec) -> Engine:
    """Construct the engine that `spec.engine` names: one of `ENGINES`, or your own as `package.module:Class`.

    An engine of your own is a class with the members of `Engine`, constructed with the `ModelSpec`.

    Raises:
        BadInput: no engine has this name, or the class is not there.
    """
    if spec.engine not in ENGINES and ":" not in spec.engine:
        raise BadInput(f"no engine is named {spec.engine!r}: {nearest(spec.engine, ENGINES)}")
    engine: Engine = load_object(ENGINES.get(spec.engine, spec.engine), "engine")(spec)
    return engine
