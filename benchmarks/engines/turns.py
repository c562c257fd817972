"""Processes that take their rounds in turn: what the machine does meanwhile meets all alike."""

import sys
import time
from pathlib import Path

_LOOK_S = 0.05


class Turns:
    """One process's place among `of` processes of which one works at a time.

    Args:
        folder: Empty at first, common to them; should it vanish, whoever waits ends.
        place: 0 to of - 1.
        of: How many there are.
    """

    def __init__(self, folder: Path, place: int, of: int) -> None:
        self._folder, self._place, self._of = folder, place, of
        self._taken = 0

    def take(self) -> None:
        """Hand on the turn before this one, if there was one, and wait for the next."""
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
        """Hand on the turn."""
        (self._folder / f"done-{(self._taken - 1) * self._of + self._place}").touch()

    def _wait_for(self, name: str) -> None:
        while not (self._folder / name).exists():
            if not self._folder.exists():
                sys.exit("another process of the same measurement failed")
            time.sleep(_LOOK_S)
