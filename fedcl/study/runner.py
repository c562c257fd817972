"""Runs side by side, each in a process of its own: one that dies takes no other with it."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack

import torch

from fedcl.compute.progress import SILENT, Progress
from fedcl.compute.workers import worker_pool
from fedcl.config.study import Study
from fedcl.study.plan import Trial
from fedcl.study.run_trial import TrialFailure, keep_failure, run_trial

_LOOK_S = 0.5


def choose_jobs(study: Study, threads: int) -> int:
    """Return how many runs go side by side.

    Args:
        study: Says so, or auto.
        threads: Of each run.
    """
    if study.jobs != "auto":
        return study.jobs
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return max(1, (os.cpu_count() or 1) // threads)


def run_all(
    waiting: Sequence[Trial], *, jobs: int, progress: Progress = SILENT
) -> Iterator[tuple[Trial, TrialFailure | None]]:
    """Run every trial and yield each as it ends, with what went wrong, if anything did.

    Args:
        waiting: In the order in which they begin.
        jobs: Side by side.
        progress: Told about twice a second how many rounds of all the runs are kept.
    """
    left = deque(waiting)
    total, ended = sum(trial.config.federation.rounds for trial in waiting), 0
    with ExitStack() as stack:
        seats = [_Seat(stack, number) for number in range(min(jobs, len(left)))]
        going: dict[Future[TrialFailure | None], tuple[_Seat, Trial]] = {}
        free = list(seats)
        while left or going:
            while left and free:
                seat, trial = free.pop(), left.popleft()
                going[seat.begin(trial)] = (seat, trial)
            done, _ = wait(going, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            kept = sum(trial.entry.rounds_done() for _, trial in going.values())
            progress.step("Rounds", ended + kept, total)
            for future in done:
                seat, trial = going.pop(future)
                ended += trial.config.federation.rounds
                yield trial, _outcome(future, seat, trial)
                free.append(seat)


class _Seat:
    """A place for one run at a time, with one process, renewed when it dies."""

    def __init__(self, stack: ExitStack, number: int) -> None:
        self._stack = stack
        self._number = number
        self._pool: ProcessPoolExecutor | None = None

    def begin(self, trial: Trial) -> "Future[TrialFailure | None]":
        try:
            return self._submit(trial)
        except BrokenProcessPool:  # killed between two runs
            self.renew()
            return self._submit(trial)

    def _submit(self, trial: Trial) -> "Future[TrialFailure | None]":
        if self._pool is None:
            self._pool = self._stack.enter_context(worker_pool(1))
            self._pool.submit(_take_gpu, self._number)
        return self._pool.submit(run_trial, trial.arm.train, trial.config, trial.entry, trial.asked)

    def renew(self) -> None:
        self._pool = None


def _take_gpu(number: int) -> None:
    """Give this process one of the GPUs, if there are any."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def _outcome(
    future: "Future[TrialFailure | None]", seat: _Seat, trial: Trial
) -> TrialFailure | None:
    try:
        return future.result()
    except BrokenProcessPool:
        seat.renew()
        failure = TrialFailure(
            "its process was killed, perhaps for want of memory; run fewer side by side "
            "(--set jobs=1) or a smaller experiment"
        )
        keep_failure(trial.entry, failure)
        return failure
