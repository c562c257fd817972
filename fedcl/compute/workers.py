"""Start worker processes that ignore Ctrl-C and end with their parent.

Where the system can fork, one process imports the modules that the workers need and every worker is
a fork of it: they start at once, and share the memory of the modules.
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process
from pathlib import Path

from fedcl.compute.device import choose_workers, keep_memory
from fedcl.config.experiment import Compute

# Workers are never forks of this process: a fork after torch has started threads can deadlock.
_METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
_IMPORTED = ["fedcl.experiment.worker_imports"]
_PEAKS_MB: list[float] = []
"""Peak resident memory in MB of the largest worker of each pool that has ended."""


def prepare_workers(compute: Compute) -> None:
    """Start to import the modules that an experiment's workers need, in a separate process.

    Raises:
        ConfigError: `cuda` is configured and this machine has no GPU.
    """
    if choose_workers(compute) > 1:
        _begin_server()


def _begin_server() -> None:
    if _METHOD == "forkserver":
        get_context(_METHOD).set_forkserver_preload(_IMPORTED)
        with _interrupts_ignored():
            forkserver.ensure_running()


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of new processes; at the end of the block unfinished work is cancelled."""
    _begin_server()
    pool = ProcessPoolExecutor(
        max_workers=workers, mp_context=get_context(_METHOD), initializer=_begin
    )
    try:
        with _interrupts_ignored():
            pool.submit(int)  # without forks, this makes the first worker start its imports
        yield pool
    finally:
        processes = list((pool._processes or {}).values())
        _PEAKS_MB.append(max((_peak_mb(process.pid) for process in processes), default=0.0))
        for process in processes:
            process.terminate()
        # The pool is waited for, since a thread that still closes it at exit prints a traceback.
        pool.shutdown(cancel_futures=True)


def largest_worker_mb() -> float:
    """Return the peak resident memory of the largest worker so far in MB; 0 without /proc.

    `getrusage` does not count the workers, since they are children of another process.
    """
    return max(_PEAKS_MB, default=0.0)


def _peak_mb(pid: int | None) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(peaks[0]) / 1024 if peaks else 0.0


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C inside the block, so that processes started in it inherit this.

    At a terminal, Ctrl-C reaches all processes of the group.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it receives interrupts
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
