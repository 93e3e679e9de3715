"""Classes of a user's own, named in a job as `package.module:Class`."""

import importlib
from typing import Any

from drp_ray.errors import BadInput


def load_class(path: str, setting: str) -> Any:
    """Import the class that `setting` names.

    Raises:
        BadInput: the path has no such form, the module is not there, or it has no such class.
    """
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name):
        raise BadInput(f"{setting}: {path!r} is not of the form package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise BadInput(f"{setting}: {path!r}: there is no module {error.name!r} where the workers run") from error
    if not hasattr(module, class_name):
        raise BadInput(f"{setting}: {path!r}: {module_name} has no class {class_name}")
    return getattr(module, class_name)
