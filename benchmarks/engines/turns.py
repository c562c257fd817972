"""Lets processes do their rounds in turn, so that other load on the machine meets all alike."""

import sys
import time
from pathlib import Path

_LOOK_S = 0.05


class Turns:
    """The turn of one process among several, of which one works at a time.

    Args:
        folder: Common folder, empty at first; if it vanishes, every waiting process ends.
        place: Number of this process, 0 to `of` - 1.
        of: Number of processes that take turns.
    """

    def __init__(self, folder: Path, place: int, of: int) -> None:
        self._folder, self._place, self._of = folder, place, of
        self._taken = 0

    def take(self) -> None:
        """Hand on this process's turn, if it has one, and wait for its next."""
        if self._taken:
            self.leave()
        else:
            (self._folder / f"ready-{self._place}").touch()
            for place in range(self._of):
                self._wait_for(f"ready-{place}")
        turn = self._taken * self._of + self._place
        if turn:
            self._wait_for(f"done-{turn - 1}")
        self._taken += 1

    def leave(self) -> None:
        """Hand on this process's last turn."""
        (self._folder / f"done-{(self._taken - 1) * self._of + self._place}").touch()

    def _wait_for(self, name: str) -> None:
        while not (self._folder / name).exists():
            if not self._folder.exists():
                sys.exit("another process of the same measurement failed")
            time.sleep(_LOOK_S)
