"""Does runs side by side, each in a process of its own, so that one that dies ends no other."""

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
    """Return the number of runs to do side by side.

    Args:
        study: Settings of the study, whose `jobs` is a number or auto.
        threads: Number of threads of each run, at least 1.
    """
    if study.jobs != "auto":
        return study.jobs
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return max(1, (os.cpu_count() or 1) // threads)


def run_all(
    waiting: Sequence[Trial], *, jobs: int, progress: Progress = SILENT
) -> Iterator[tuple[Trial, TrialFailure | None]]:
    """Run every trial and yield each as it ends, with its failure or None.

    Args:
        waiting: Trials in the order in which they begin.
        jobs: Number of trials to run side by side, at least 1.
        progress: Object that is told about twice a second how many rounds of all runs are done.
    """
    left = deque(waiting)
    total, ended = sum(trial.config.federation.rounds for trial in waiting), 0
    with ExitStack() as stack:
        seats = [_Seat(stack, number) for number in range(min(jobs, len(left)))]
        running: dict[Future[TrialFailure | None], tuple[_Seat, Trial]] = {}
        free = list(seats)
        while left or running:
            while left and free:
                seat, trial = free.pop(), left.popleft()
                running[seat.begin(trial)] = (seat, trial)
            done, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            kept = sum(trial.entry.rounds_done() for _, trial in running.values())
            progress.step("Rounds", ended + kept, total)
            for future in done:
                seat, trial = running.pop(future)
                ended += trial.config.federation.rounds
                yield trial, _outcome(future, seat, trial)
                free.append(seat)


class _Seat:
    """Does one run at a time in its process, which is replaced if it dies."""

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
    """Assign one of the GPUs to this process, if there are any."""
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
