"""Models that an installed Python package carries, which a configuration names as `package:NAME`."""

import json
from importlib.util import find_spec
from pathlib import Path

from drp_ray.errors import BadInput

PACKAGE = "package:"
LANGUAGE_MODEL = "ForCausalLM"
"""How the architectures end that write text."""


def whole_path(model: str) -> str:
    """A model as workers can find it, whose current folders are others: a folder of this machine by its whole path."""
    return str(Path(model).absolute()) if Path(model).is_dir() else model


def locate_language_model(model_id: str, key: str) -> str:
    """The folder or hub id to load; for `package:NAME`, the folder with a language model inside that package.

    Args:
        model_id: what the configuration names.
        key: where it does, for messages.

    Raises:
        BadInput: the package is not installed, or carries no language model in the form of a Hugging Face folder.
    """
    if not model_id.startswith(PACKAGE):
        return model_id
    package = model_id.removeprefix(PACKAGE)
    configurations = files_in_package(package, "config.json", key)
    folders = [path.parent for path in configurations if _is_language_model(path)]
    if not folders:
        raise BadInput(
            f"{key}: the package {package} carries no language model that can be loaded: none of its folders has a "
            "config.json of one with *.safetensors beside it (GGUF files are not read)"
        )
    return str(folders[0])


def files_in_package(package: str, name: str, key: str) -> list[Path]:
    """The files of a name anywhere inside an installed package, in order.

    Raises:
        BadInput: there is no such package.
    """
    try:
        found = find_spec(package)
    except (ImportError, ValueError):  # a parent that is not there, a name that is none
        found = None
    if found is None or found.origin is None:
        raise BadInput(f"{key}: the Python package {package} is not installed")
    return sorted(Path(found.origin).parent.rglob(name))


def _is_language_model(configuration: Path) -> bool:
    try:
        content = json.loads(configuration.read_bytes())
    except ValueError:
        return False
    architectures = content.get("architectures") if isinstance(content, dict) else None
    writes = any(str(name).endswith(LANGUAGE_MODEL) for name in architectures or ())
    return writes and any(configuration.parent.glob("*.safetensors"))


def has_only_pickles(folder: Path) -> bool:
    """Whether the weights in a folder are in a format that runs code when it is loaded."""
    return not any(folder.glob("*.safetensors")) and any(
        file for ending in ("bin", "pt", "pth", "ckpt") for file in folder.glob(f"*.{ending}")
    )
