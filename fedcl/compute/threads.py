"""Apply a function to items in threads, for work that reads files or releases Python's lock."""

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
    """Return the result of `work` for each item, in their order.

    All results are held in memory, so they should be small. An exception in `work` or `progress` is
    raised once the items being processed are done.

    Args:
        work: Function that is applied to each item.
        things: Items to process, in the order of the results.
        threads: Number of threads; None means one for each core, since more would wait for
            Python's lock.
        progress: Object that is told about each result, in the order of the items.
        what: Name of the job, as `progress` shows it.
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
