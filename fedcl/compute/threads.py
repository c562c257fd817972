"""Apply a function to items in threads, for work that reads files or releases Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Thing], Result],
    things: Sequence[Thing],
    *,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Return the result of `work` for each item, in their order.

    All results are held in memory, so they should be small. An exception in `work` or `on_progress`
    is raised once the items being processed are done.

    Args:
        work: Function that is applied to each item.
        things: Items to process, in the order of the results.
        threads: Number of threads; None means one for each core, since more would wait for
            Python's lock.
        on_progress: Function called with (done, total) after each item, in their order.
    """
    pool = ThreadPoolExecutor(threads or os.cpu_count())
    try:
        results: list[Result] = []
        for result in pool.map(work, things):
            results.append(result)
            if on_progress is not None:
                on_progress(len(results), len(things))
        return results
    finally:
        pool.shutdown(cancel_futures=True)
