"""Load large libraries and models quickly."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Create lasting objects without Python's garbage collector, and exempt them from it for good.

    Importing torch and what stands on it makes a million objects that are never freed. The collector would walk
    them during the import, again while the model works, and once more when the process ends.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
