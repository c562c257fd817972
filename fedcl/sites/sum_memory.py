"""A site's part of a secure sum, on its own disk from one message of the sum to the next.

It holds secrets: its owner alone may read it, and it is deleted when the sum ends for this site.
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
    """Which sum a site has entered.

    Attributes:
        round: The round's number.
        attempt: The sum's name.
        purpose: What is summed.
        sites: All that were asked.
        length: Values in the site's part.
    """

    round: int
    attempt: str
    purpose: str
    sites: tuple[str, ...]
    length: int


class SumMemory:
    """The folder of the sum under way, and the names of all sums that a site has entered."""

    def __init__(self, folder: Path) -> None:
        self._open = folder / "open"
        self._names = folder / "attempts.txt"
        self._lock = folder / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time answer: two at once could give two answers to one question."""
        self._lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def require_unused(self, attempt: str) -> None:
        """Refuse the name of a sum that the site has entered before.

        Raises:
            SecureSumError: it has, or it is no name.
        """
        if not (attempt.isascii() and attempt.isalnum()):
            raise SecureSumError("the server names no secure sum to enter")
        if attempt in self._used():
            raise SecureSumError(f"the secure sum {attempt} was entered before: each name is one")

    def enter(self, entered: EnteredSum, kept: bytes, words: Words) -> None:
        """Begin a sum; whatever an earlier one left is deleted."""
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
            SecureSumError: there is none of that name.
            RunError: it cannot be read.
        """
        file = self._open / "entered.json"
        if not file.exists():
            raise SecureSumError("the site is in no secure sum, or its part of it is over")
        try:
            found = json.loads(file.read_text())
            entered = EnteredSum(**{**found, "sites": tuple(found["sites"])})
        except (ValueError, TypeError, KeyError):
            raise RunError(f"{file}: what the site kept of the secure sum is damaged") from None
        if entered.attempt != attempt:
            raise SecureSumError(f"the server asks about the sum {attempt}, the site is in another")
        return entered

    def kept(self) -> bytes:
        """Return the site's secrets."""
        return (self._open / "kept").read_bytes()

    def keep(self, kept: bytes) -> None:
        """Replace the site's secrets, on the disk, before its answer leaves."""
        write_secret(self._open / "kept", kept)

    def words(self, dtype: np.dtype) -> Words:
        """Return the site's encoded vector."""
        return np.frombuffer((self._open / "words").read_bytes(), dtype)

    def forget_words(self) -> None:
        """Delete the vector: its masked input is made."""
        (self._open / "words").unlink()

    def end(self) -> None:
        """Delete all that is kept of the sum under way."""
        shutil.rmtree(self._open, ignore_errors=True)

    def _used(self) -> list[str]:
        return self._names.read_text().split() if self._names.exists() else []
