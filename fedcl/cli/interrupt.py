"""Ctrl-C that cannot get lost: raised at once, and again at the next step if a library ate it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether the user has asked to stop."""

    asked = False

    def check(self) -> None:
        """Stop here if the user has asked to.

        Raises:
            KeyboardInterrupt: they have.
        """
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Yield what long jobs check at each step.

    An exception raised by a signal inside a callback of the interpreter (a weak reference's, a
    finaliser's) is printed and dropped; without the check the job would go on to its end.
    """
    interrupt = Interrupt()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        interrupt.asked = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
