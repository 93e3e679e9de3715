"""Strategies that choose representatives, one a file. Every module is imported, so a new file is a new strategy."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
