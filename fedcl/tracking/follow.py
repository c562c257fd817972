"""Loggers follow a run: they are given each new round, and at the end what was measured.

A logger that fails does not stop the training: rounds.jsonl holds everything, so what was missed is
written after the next round. What is still missing at the end is an error.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from fedcl.compute.progress import SILENT, Progress
from fedcl.config.experiment import Config
from fedcl.errors import FedclError
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import Results
from fedcl.tracking.scalars import (
    Scalars,
    curve_scalars,
    final_scalars,
    read_lines,
    round_scalars,
)


class Logger(Protocol):
    """Takes the numbers of a run, such as `Board` and `MlflowRun`."""

    def write(self, scalars: Scalars, *, step: int, wall_time: float) -> None:
        """Write one point of each curve."""

    def close(self, *, finished: bool) -> None:
        """End the log; `finished` is whether the run came to its end."""


class Tracking:
    """A run and the loggers that follow it.

    Args:
        kind: Who trains together: simulate, pooled or local.
        folder: The folder of the run.
        loggers: Those that follow the run; there may be none.
        progress: Told once of a logger that takes nothing.
    """

    def __init__(
        self,
        kind: str,
        folder: RunFolder,
        loggers: Sequence[Logger],
        progress: Progress = SILENT,
    ) -> None:
        self._alone = kind == "local"
        self._folder = folder
        self._loggers = loggers
        self._progress = progress
        self._written = [0] * len(loggers)
        self._seen: tuple[int, int] | None = None
        self._told = False
        self.finished = False

    def update(self) -> None:
        """Write the rounds that are new; quick where there is none."""
        log = self._folder.log
        if not self._loggers or not log.exists():
            return
        status = log.stat()
        if (now := (status.st_mtime_ns, status.st_size)) == self._seen:
            return
        try:
            self._write_rounds()
            self._seen = now
        except FedclError as error:
            if not self._told:
                self._progress.say(
                    f"{error}. The training goes on; it is tried again after each round."
                )
            self._told = True

    def finish(self, results: Results) -> None:
        """Write what is missing, and what was measured.

        Raises:
            FedclError: a logger does not take it.
        """
        if not self._loggers:
            return
        ended = self._write_rounds()
        # Of a run that was stopped this is less than federation.rounds: it can be evaluated too.
        last = max(ended, default=0)
        curve, now = curve_scalars(results), time.time()
        for logger in self._loggers:
            for number, scalars in curve.items():
                logger.write(scalars, step=number, wall_time=ended.get(number, now))
            logger.write(final_scalars(results), step=last, wall_time=ended.get(last, now))
        self.finished = True

    def _write_rounds(self) -> dict[int, float]:
        """Write what each logger has not; return when each round ended, seconds since 1970."""
        lines, end = read_lines(self._folder, alone=self._alone)
        ended: dict[int, float] = {}
        for line in reversed(lines):
            ended[line.round] = end
            end -= line.seconds
        for index, logger in enumerate(self._loggers):
            for line in lines:
                number = line.round
                if number > self._written[index]:
                    logger.write(round_scalars(line), step=number, wall_time=ended[number])
                    self._written[index] = number
        return ended


@contextmanager
def tracking(
    kind: str, config: Config, folder: RunFolder, progress: Progress = SILENT
) -> Iterator[Tracking]:
    """Open the loggers of `output`, and close them whatever happens.

    Raises:
        FedclError: a logger cannot be opened, or does not take the end.
    """
    loggers: list[Logger] = []
    if config.output.mlflow is not None:
        from fedcl.tracking.mlflow import MlflowRun

        loggers.append(MlflowRun(config, kind, folder))
    if config.output.tensorboard:
        from fedcl.tracking.tensorboard import Board

        loggers.append(Board(folder.path / "tensorboard"))
    following = Tracking(kind, folder, loggers, progress)
    try:
        yield following
    except BaseException:
        for logger in loggers:
            with suppress(FedclError):  # why the run stopped is told, not what followed from it
                logger.close(finished=False)
        raise
    for logger in loggers:
        logger.close(finished=following.finished)
