"""Imports without the garbage collector, which finds nothing in them and takes seconds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import here: nothing is collected meanwhile, and what there is then is not looked at again.

    With torch, SciPy and scikit-learn, that is half a second of four, and one to two more when
    the process ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
