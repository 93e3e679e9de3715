"""Find the method that a job names: one of this package, or one of a user's own by its import path."""

import hashlib
import inspect
import sys
from dataclasses import replace

from drp_ray.errors import BadInput, nearest
from drp_ray.inputs.import_path import load_object
from drp_ray.methods.base import DIFFERENCES, METHODS, DifferenceProgramme, Method, Origin


def find_method(name: str) -> Method:
    """The method of this name, or the decorated function at `package.module:name`.

    Raises:
        BadInput: there is none, or the function there is not decorated with `@method`.
    """
    if ":" in name:
        return _imported_method(name)
    if name not in METHODS:
        raise BadInput(f"method: there is no method {name!r}; {nearest(name, METHODS)}, or give package.module:name")
    return METHODS[name]


def find_differences(method: Method) -> DifferenceProgramme | None:
    """The programme that finds what a method needs: the one of the same name, of the same origin.

    Raises:
        BadInput: the method needs differences, and no programme of its name finds them.
    """
    if "differences" not in method.needs.columns:
        return None
    if method.name not in DIFFERENCES:
        raise BadInput(
            f"method: {method.name} needs differences, but nothing finds them: decorate a function of its module "
            f"with @differences({method.name!r}, …)"
        )
    return replace(DIFFERENCES[method.name], origin=method.origin)


def _imported_method(path: str) -> Method:
    function = load_object(path, "method")
    found = next((method for method in METHODS.values() if method.write is function), None)
    if found is None:
        raise BadInput(f"method: {path!r} is not a function decorated with @method(…)")
    return replace(found, origin=_origin(path, function.__module__))


def _origin(path: str, module: str) -> Origin:
    """Two modules may name a method alike, and a module may change: both give other folders for results."""
    source = inspect.getsource(sys.modules[module])
    return {"import_path": path, "source": hashlib.sha256(source.encode()).hexdigest()[:32]}
