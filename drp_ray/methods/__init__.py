"""The methods, one a file. Every module of this package is imported, so that a new file is a new method."""

from importlib import import_module
from pkgutil import iter_modules

from drp_ray.methods.base import Ask, Extracted, UserContext, Written, differences, method

__all__ = ["Ask", "Extracted", "UserContext", "Written", "differences", "method"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
