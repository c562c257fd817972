"""Makes Ctrl-C stop a long job at once, or at its next step if a library drops the exception."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether the user has asked to stop."""

    asked = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if the user has pressed Ctrl-C.

        Raises:
            KeyboardInterrupt: the user has asked to stop.
        """
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Yield the interrupt that a long job checks at each step.

    If the signal arrives inside a callback of the interpreter (of a weak reference, a finaliser),
    Python prints and drops the exception; without the check the job would go on to its end.
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
