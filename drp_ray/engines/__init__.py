"""Language model engines. Each module holds one engine; `base` says what they have in common."""

import difflib
import importlib

from drp_ray.engines.base import Engine, ModelSpec

# Import paths, not classes: the module of an engine is imported only where that engine is made.
ENGINES = {
    "vllm": "drp_ray.engines.vllm:VllmEngine",
    "openai": "drp_ray.engines.openai:OpenAIEngine",
}


def make_engine(spec: ModelSpec) -> Engine:
    """Construct the engine that `spec.engine` names: one of `ENGINES`, or your own as `package.module:Class`.

    An engine of your own is a class with the members of `Engine`, constructed with the `ModelSpec`.

    Raises:
        ValueError: no engine has this name.
        ImportError: the module of an engine of your own cannot be imported.
    """
    path = ENGINES.get(spec.engine, spec.engine)
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name):
        known = _nearest(spec.engine)
        raise ValueError(f"no engine is named {spec.engine!r}: {known}, or give package.module:Class")
    module = importlib.import_module(module_name)
    try:
        engine: Engine = getattr(module, class_name)(spec)
    except AttributeError as error:
        if hasattr(module, class_name):
            raise
        raise ValueError(f"engine {spec.engine!r}: {module_name} has no class {class_name}") from error
    return engine


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, ENGINES, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(ENGINES)}"
