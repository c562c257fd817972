"""Stores a site's part of a secure sum on its own disk from one exchange to the next.

The files hold secrets: only their owner may read them, and they are deleted when the sum ends for
this site.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fedcl.errors import RunError, SecureSumError
from fedcl.files.atomic import write_secret
from fedcl.secure_sum.fixed_point import Words


@dataclass(frozen=True)
class EnteredSum:
    """The secure sum that a site has entered.

    Attributes:
        round: Number of the round, from 1.
        attempt: Name of the sum, which is used once.
        purpose: Name of what is summed.
        sites: Labels of all sites that were asked.
        length: Number of values in the site's part.
    """

    round: int
    attempt: str
    purpose: str
    sites: tuple[str, ...]
    length: int


class SumMemory:
    """The folder of the sum under way and the names of all sums that the site has entered."""

    def __init__(self, folder: Path) -> None:
        self._open = folder / "open"
        self._names = folder / "attempts.txt"
        self._lock = folder / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the memory, since two processes at once could answer one question differently."""
        self._lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def require_unused(self, attempt: str) -> None:
        """Refuse the name of a sum that the site has entered before.

        Raises:
            SecureSumError: the sum was entered before, or `attempt` is not a name.
        """
        if not (attempt.isascii() and attempt.isalnum()):
            raise SecureSumError("the server names no secure sum to enter")
        if attempt in self._used():
            raise SecureSumError(f"the secure sum {attempt} was entered before: each name is one")

    def enter(self, entered: EnteredSum, kept: bytes, words: Words) -> None:
        """Begin a sum, and delete whatever an earlier one left."""
        self.require_unused(entered.attempt)
        self.end()
        names = "".join(name + "\n" for name in (*self._used(), entered.attempt))
        write_secret(self._names, names.encode())
        self._open.mkdir(mode=0o700)
        write_secret(self._open / "words", words.tobytes())
        write_secret(self._open / "entered.json", json.dumps(asdict(entered)).encode())
        self.keep(kept)

    def entered(self, attempt: str) -> EnteredSum:
        """Return the sum under way.

        Raises:
            SecureSumError: the site is in no sum of this name.
            RunError: the file of the sum is damaged.
        """
        file = self._open / "entered.json"
        if not file.exists():
            raise SecureSumError("the site is in no secure sum, or its part of it is over")
        try:
            stored = json.loads(file.read_text())
            entered = EnteredSum(**{**stored, "sites": tuple(stored["sites"])})
        except (ValueError, TypeError, KeyError):
            raise RunError(f"{file}: what the site kept of the secure sum is damaged") from None
        if entered.attempt != attempt:
            raise SecureSumError(f"the server asks about the sum {attempt}, the site is in another")
        return entered

    def kept(self) -> bytes:
        """Return the site's secrets of the sum under way."""
        return (self._open / "kept").read_bytes()

    def keep(self, kept: bytes) -> None:
        """Replace the site's secrets on the disk, before its answer leaves."""
        write_secret(self._open / "kept", kept)

    def words(self, dtype: np.dtype) -> Words:
        """Return the site's vector as encoded words."""
        return np.frombuffer((self._open / "words").read_bytes(), dtype)

    def forget_words(self) -> None:
        """Delete the vector, which is not needed once its masked input is made."""
        (self._open / "words").unlink()

    def end(self) -> None:
        """Delete all files of the sum under way."""
        shutil.rmtree(self._open, ignore_errors=True)

    def _used(self) -> list[str]:
        return self._names.read_text().split() if self._names.exists() else []
