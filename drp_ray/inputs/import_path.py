"""Code of a user's own, named in a job by its import path: `package.module:Class` or `package.module:function`."""

import hashlib
import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from drp_ray.errors import BadInput


def load_object(path: str, setting: str) -> Any:
    """Import the class or function that `setting` names.

    Raises:
        BadInput: the path has no such form, there is no such module, or the module has no such class or function.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise BadInput(f"{setting}: {path!r} is not of the form package.module:Class or package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise BadInput(f"{setting}: {path!r}: there is no module {error.name!r} where the workers run") from error
    if not hasattr(module, name):
        raise BadInput(f"{setting}: {path!r}: {module_name} has no class {name}, and no function of this name")
    return getattr(module, name)


def source_digest(path: str) -> str | None:
    """A digest of the source of the module in `package.module:name`, which is not imported; None where it is not here.

    What it imports in turn is not looked at.
    """
    try:
        found = find_spec(path.partition(":")[0])
    except (ImportError, ValueError):
        return None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return None
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()[:32]
