"""The same work on many things, some at once: for what reads files, or lets go of Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fedcl.compute.progress import SILENT, Progress

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Thing], Result],
    things: Sequence[Thing],
    *,
    threads: int | None = None,
    progress: Progress = SILENT,
    what: str = "",
) -> list[Result]:
    """Return the result for each thing, in their order; all of them are kept, so let them be small.

    Whatever `work` or `progress` raises ends it, once the things in work are done.

    Args:
        work: What is done.
        things: With what.
        threads: At once; None: one for each core, since more only wait for Python's lock.
        progress: Told of each result, in the things' order.
        what: Names the job to `progress`.
    """
    pool = ThreadPoolExecutor(threads or os.cpu_count())
    try:
        results: list[Result] = []
        for result in pool.map(work, things):
            results.append(result)
            progress.step(what, len(results), len(things))
        return results
    finally:
        pool.shutdown(cancel_futures=True)
