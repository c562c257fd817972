"""Start fedcl's worker processes from any program: a command, a script, a notebook.

By default `multiprocessing` lets a child run the parent's main script again, with the current
folder first on the module path. Both are prevented here: a script without the guard
`if __name__ == "__main__"` would train again in each child, and a `random.py` in the user's folder
would be imported instead of Python's own.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context, get_all_start_methods
from typing import Any

_SAFE_PATH = "PYTHONSAFEPATH"
"""Variable that keeps the current folder and the script's folder off Python's module path."""

_starting = threading.Lock()


@contextmanager
def without_main_script() -> Iterator[None]:
    """Let processes started in the block neither run the main script nor search the current folder.

    The main module and the environment are restored afterwards. Another thread that enters such a
    block at the same time waits.
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
"""Attributes of the main module by which `multiprocessing` finds the script that a child runs."""


class _ForkServerProcess(context.ForkServerProcess):
    """Start a worker as a fork of the process that has imported the workers' modules."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's own name
        with without_main_script():
            return context.ForkServerProcess._Popen(process_obj)


class _SpawnProcess(context.SpawnProcess):
    """Start a worker as a new interpreter, where the system cannot fork."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's own name
        with without_main_script():
            return context.SpawnProcess._Popen(process_obj)


class _ForkServerContext(context.ForkServerContext):
    Process = _ForkServerProcess


class _SpawnContext(context.SpawnContext):
    Process = _SpawnProcess


# Workers are never forks of this process: a fork after torch has started threads can deadlock.
FORKS = "forkserver" in get_all_start_methods()
"""Whether workers are forks of one process that has imported the modules they need."""


def worker_context() -> context.BaseContext:
    """Return the `multiprocessing` context of fedcl's workers."""
    return _ForkServerContext() if FORKS else _SpawnContext()
