"""Processes of fedcl's own, started from any program: a command, a script, a notebook.

`multiprocessing` starts a child with the parent's main script, which it runs again, and with the
current folder first on the module path. Neither is wanted here: a script without the guard
`if __name__ == "__main__"` would train again in each child, and a `random.py` that lies in the
user's folder would be taken for Python's own.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context, get_all_start_methods
from typing import Any

_SAFE_PATH = "PYTHONSAFEPATH"
"""Python's own variable: the current folder and the script's are not on the module path."""

_starting = threading.Lock()


@contextmanager
def children_by_themselves() -> Iterator[None]:
    """Start child processes here that neither run the main script nor search the current folder.

    The main module and the environment are as before afterwards. Whoever starts processes at the
    same time in another thread waits.
    """
    with _starting:
        main, variable = sys.modules["__main__"], os.environ.get(_SAFE_PATH)
        before = {name: getattr(main, name) for name in _NAMED_BY if hasattr(main, name)}
        for name in before:
            setattr(main, name, None)
        os.environ[_SAFE_PATH] = "1"
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(main, name, value)
            if variable is None:
                del os.environ[_SAFE_PATH]
            else:
                os.environ[_SAFE_PATH] = variable


_NAMED_BY = ("__spec__", "__file__")
"""Attributes of a main module by which `multiprocessing` finds what a child runs again."""


class _ForkServerProcess(context.ForkServerProcess):
    """A copy of the process that imported what workers need."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's own name
        with children_by_themselves():
            return context.ForkServerProcess._Popen(process_obj)


class _SpawnProcess(context.SpawnProcess):
    """A fresh interpreter, where the system cannot fork."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's own name
        with children_by_themselves():
            return context.SpawnProcess._Popen(process_obj)


class _ForkServerContext(context.ForkServerContext):
    Process = _ForkServerProcess


class _SpawnContext(context.SpawnContext):
    Process = _SpawnProcess


# Never a copy of this process: a fork after torch has started threads can deadlock.
FORKS = "forkserver" in get_all_start_methods()
"""Whether workers are copies of one process that has imported what they need."""


def worker_context() -> context.BaseContext:
    """Return the `multiprocessing` context of fedcl's workers."""
    return _ForkServerContext() if FORKS else _SpawnContext()
