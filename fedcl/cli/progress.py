"""Progress for a person at a terminal: rounds, sites, time left; lines alone anywhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


class Lines:
    """A `fedcl.compute.progress.Progress` that prints the lines and draws no bars."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, what: str, done: int, total: int) -> None:
        """Pass over a step."""

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars(Lines):
    """A `fedcl.compute.progress.Progress` with a bar for each job, made when it first moves.

    Args:
        console: Where lines are printed.
        bars: Draws the bars.
        check: Called before each step; what it raises ends the job.
    """

    def __init__(self, console: Console, bars: Progress, check: Callable[[], None]) -> None:
        super().__init__(console)
        self._bars = bars
        self._check = check
        self._tasks: dict[str, TaskID] = {}

    def step(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` parts of a job are done."""
        self._check()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)


@contextmanager
def steps(console: Console, *, check: Callable[[], None] = lambda: None) -> Iterator[Bars]:
    """Yield bars that are drawn on a terminal only."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        yield Bars(console, bars, check)
