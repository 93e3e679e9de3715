"""Strategies that choose representatives, one a file. Every module is imported, so a new file is a new strategy."""

from importlib import import_module
from pkgutil import iter_modules

from drp_ray.stages.strategies.base import Chosen, Representative, others_of, strategy

__all__ = ["Chosen", "Representative", "others_of", "strategy"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
