"""Load large libraries and models quickly."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Create lasting objects without Python's garbage collector.

    Importing torch and what stands on it makes a million objects, which the collector would walk again and again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
