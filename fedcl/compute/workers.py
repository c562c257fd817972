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
from multiprocessing import forkserver, parent_process
from pathlib import Path

from fedcl.compute.device import choose_workers, keep_memory
from fedcl.compute.worker_process import FORKS, without_main_script, worker_context
from fedcl.config.experiment import Compute

_IMPORTED = ["fedcl.experiment.worker_imports"]
_PEAKS_MB: list[float] = []
"""Peak resident memory of the largest worker of each pool that has ended, MB."""


def prepare_workers(compute: Compute) -> None:
    """Start to import the modules that an experiment's workers need, in a separate process.

    Raises:
        ConfigError: `compute.device` is cuda, and this machine has no GPU.
    """
    if choose_workers(compute) > 1:
        _begin_server()


def _begin_server() -> None:
    if FORKS:
        forkserver.set_forkserver_preload(_IMPORTED)
        with _interrupts_ignored(), without_main_script():
            forkserver.ensure_running()


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of fresh processes; on leaving, work in flight is dropped.

    The processes know neither the caller's main script nor its current folder, so that a script
    without a guard and a notebook may use them; the work is a function of an importable module.

    Args:
        workers: The number of processes, >= 1.
    """
    _begin_server()
    pool = ProcessPoolExecutor(max_workers=workers, mp_context=worker_context(), initializer=_begin)
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
