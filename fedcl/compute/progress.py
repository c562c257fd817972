"""How far a job is, and what its user should know: told to whoever shows it.

The library prints nothing. Functions that take long are given a `Progress`; the command line's
draws bars, and the default one is silent.
"""

from typing import Protocol


class Progress(Protocol):
    """Is told of a job while the job runs."""

    def step(self, what: str, done: int, total: int) -> None:
        """Take note that `done` of `total` parts of a job are done.

        Args:
            what: Names the job, such as "Rounds"; a later step of the same name replaces this one.
        """

    def say(self, text: str) -> None:
        """Take note of one line for the user."""


class SilentProgress:
    """Shows nothing."""

    def step(self, what: str, done: int, total: int) -> None:
        """Pass over a step."""

    def say(self, text: str) -> None:
        """Pass over a line."""


SILENT: Progress = SilentProgress()
