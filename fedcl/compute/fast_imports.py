"""Import modules without garbage collection, which takes seconds and finds nothing to free."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Import modules here, in a process of fedcl's own: the command line or a worker.

    The garbage collector rests meanwhile, and afterwards leaves alone everything that exists by
    then. With torch, SciPy and scikit-learn that saves half a second of four, and one to two more
    when the process ends. In somebody else's process it would change when their objects are freed,
    so that no module of fedcl that a user imports calls this.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
