"""Define how a long job reports its progress and its messages to the user.

The library prints nothing. Functions that take long are given a `Progress`: that of the command
line draws bars, and the default one is silent.
"""

from typing import Protocol


class Progress(Protocol):
    """Receive the progress and the messages of a job while it runs."""

    def step(self, what: str, done: int, total: int) -> None:
        """Receive the number of parts of a job that are done.

        Args:
            what: Name of the job, such as "Rounds"; a later step of this name replaces this one.
            done: Number of parts that are done, from 0 to `total`.
            total: Number of parts of the whole job.
        """

    def say(self, text: str) -> None:
        """Receive a message of one line for the user."""


class SilentProgress:
    """Ignore the progress and the messages of a job."""

    def step(self, what: str, done: int, total: int) -> None:
        """Ignore a step."""

    def say(self, text: str) -> None:
        """Ignore a message."""


SILENT: Progress = SilentProgress()
