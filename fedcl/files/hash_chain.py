"""A file of JSON lines that is only ever added to: each line holds the hash of the one before.

A second file, the mark, says how many lines there are and the hash of the last: a file that was
cut, altered, reordered or removed is refused. A process that is killed leaves at most a torn line,
which never counted, or a whole one without its mark, which does. Whoever writes both files anew
can write another history: a hash noted elsewhere (`ChainContents.last`) is what shows that.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcl.errors import PrivacyError
from fedcl.files.atomic import sync, write_text

ChainEntry = dict[str, Any]
"""The content of a line, without the hash."""

_START = "0" * 64
_BEFORE = "before"
_MARK = re.compile(r"(0|[1-9][0-9]{0,17}) ([0-9a-f]{64})\n?")
_BLOCK = 1 << 12


@dataclass(frozen=True)
class ChainContents:
    """The content of a chain.

    Attributes:
        entries: The lines, up to the first that cannot be trusted.
        last: The hash of the last of these lines.
        problem: Which line cannot be trusted and what to do; None where the chain is whole.
        torn: How many bytes a killed writer left of a line that never counted.
        unmarked: Whether the last line has no mark: its writer was killed, or it was put there by
            hand.
    """

    entries: tuple[ChainEntry, ...]
    last: str
    problem: str | None
    torn: int
    unmarked: bool


@dataclass(frozen=True)
class Chain:
    """A chain on disk.

    Attributes:
        path: The file; beside it lie its mark and its lock.
        name: The word for the chain in messages, such as "ledger".
        lines: The word for its lines in messages, such as "charges".
        durable: Whether a line must outlive a power cut, and not only a killed process.
        error: The error that says that the chain cannot be trusted.
        advice: The way out that this error names.
    """

    path: Path
    name: str
    lines: str
    durable: bool
    error: type[PrivacyError] = PrivacyError
    advice: str = "restore it from a backup"

    @property
    def mark(self) -> Path:
        """The file of the mark."""
        return self.path.with_suffix(".head")

    @contextmanager
    def lock(self) -> Iterator["OpenChain"]:
        """Let nobody else write or read meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_file.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield OpenChain(self)

    def append(self, entry: ChainEntry) -> None:
        """Add a line, at a cost that does not grow with the file.

        Raises:
            PrivacyError: the chain's own kind: the end of the file is not as it was marked.
        """
        with self.lock() as chain:
            chain.append(entry)

    def read(self) -> ChainContents:
        """Read every line and change nothing: a copy on a read-only disk can be read too."""
        if not self._lock_file.exists():  # nobody ever wrote here: it is a copy
            return read_chain(self)
        with self._lock_file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            return read_chain(self)

    @property
    def _lock_file(self) -> Path:
        return self.path.parent / f".{self.path.stem}.lock"


class OpenChain:
    """A chain while no other process reads or writes it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def entries(self) -> tuple[ChainEntry, ...]:
        """Return every line; mend what a killed process left.

        Raises:
            PrivacyError: the chain's own kind: a line cannot be trusted.
        """
        found = read_chain(self._chain)
        if found.problem is not None:
            raise self._chain.error(found.problem)
        if found.torn:
            self._cut(found.torn)
        if found.unmarked:
            self._mark(len(found.entries), found.last)
        return found.entries

    def append(self, entry: ChainEntry) -> None:
        """Add a line, at a cost that does not grow with the file.

        Raises:
            PrivacyError: the chain's own kind: the end of the file is not as it was marked.
        """
        count, last = self._end()
        line = (json.dumps({_BEFORE: last, **entry}, allow_nan=False) + "\n").encode()
        path, durable = self._chain.path, self._chain.durable
        fresh = not path.exists()
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if fresh and durable:
            sync(path.parent)
        self._mark(count + 1, _digest(line))

    def _end(self) -> tuple[int, str]:
        """Return (lines, hash of the last) as the mark says, once the file ends with that line."""
        count, marked = read_mark(self._chain)
        line, torn = _tail(self._chain.path)
        last = _START if line is None else _digest(line)
        if last == marked and (count == 0) == (line is None):
            if torn:  # killed while writing: the line never counted
                self._cut(torn)
            return count, last
        if line is not None and not torn and _follows(line, marked):
            self._mark(count + 1, last)  # killed between the line and its mark
            return count + 1, last
        # Reading it all says which line it is.
        problem = read_chain(self._chain).problem
        raise self._chain.error(problem or _altered(self._chain, count))

    def _cut(self, torn: int) -> None:
        with self._chain.path.open("r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - torn)
            if self._chain.durable:
                os.fsync(file.fileno())

    def _mark(self, count: int, last: str) -> None:
        path, text = self._chain.mark, f"{count} {last}\n"
        if self._chain.durable or not path.exists():
            write_text(path, text, durable=self._chain.durable)
            return
        # To rename costs a flush of the disk; a kill cannot halve one short write over a mark,
        # which only grows.
        with path.open("r+b", buffering=0) as file:
            file.write(text.encode())


def read_chain(chain: Chain) -> ChainContents:
    """Read a chain that nobody writes to meanwhile."""
    problem = None
    try:
        count, marked = read_mark(chain)
    except PrivacyError as error:
        problem, count, marked = str(error), 0, _START
    raw = chain.path.read_bytes() if chain.path.exists() else b""
    *lines, rest = raw.split(b"\n")
    entries: list[ChainEntry] = []
    hashes = [_START]
    for number, text in enumerate(lines, 1):
        try:
            entry = json.loads(text)
            before = entry.pop(_BEFORE)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = f"{chain.path}, line {number}: cannot be read ({error}); {chain.advice}"
            break
        if before != hashes[-1]:
            problem = (
                f"{chain.path}, line {number}: does not follow from the line before: one of the "
                f"two was altered or moved; {chain.advice}"
            )
            break
        entries.append(entry)
        hashes.append(_digest(text + b"\n"))
    follows = len(entries)
    if problem is not None and follows < len(lines):
        del entries[-1:]  # where two lines do not fit together, either may be the altered one
    if count > len(lines):
        problem = (
            f"{chain.path}: {count} {chain.lines} were made and {len(lines)} are there, line "
            f"{follows + 1} is the first that is gone; a {chain.name} that lost lines cannot "
            f"be trusted: {chain.advice}"
        )
    elif problem is None and (
        hashes[count] != marked or len(lines) > count + 1 or (rest and len(lines) > count)
    ):
        problem = _altered(chain, count)
        del entries[count:]
    unmarked = problem is None and len(lines) > count
    return ChainContents(tuple(entries), hashes[len(entries)], problem, len(rest), unmarked)


def read_mark(chain: Chain) -> tuple[int, str]:
    """Return (lines, hash of the last) as the mark says.

    Raises:
        PrivacyError: the chain's own kind: it is damaged.
    """
    if not chain.mark.exists():
        return 0, _START
    # Bytes that are no text are no mark either.
    found = _MARK.fullmatch(chain.mark.read_bytes().decode("ascii", "replace"))
    if found is None:
        raise chain.error(f"{chain.mark}: damaged; {chain.advice}")
    return int(found[1]), found[2]


def _tail(path: Path) -> tuple[bytes | None, int]:
    """Return the last whole line of a file, and how many bytes come after it."""
    if not path.exists():
        return None, 0
    with path.open("rb") as file:
        size = at = file.seek(0, os.SEEK_END)
        block = b""
        while at and block.count(b"\n") < 2:
            at = max(0, at - max(_BLOCK, len(block)))
            file.seek(at)
            block = file.read(size - at)
    *lines, rest = block.split(b"\n")
    return (lines[-1] + b"\n" if lines else None), len(rest)


def _follows(line: bytes, marked: str) -> bool:
    try:
        return bool(json.loads(line)[_BEFORE] == marked)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _altered(chain: Chain, count: int) -> str:
    where = f", line {count}" if count else ""
    return (
        f"{chain.path}{where}: altered, or its mark {chain.mark.name} was, which counts {count} "
        f"{chain.lines}; {chain.advice}"
    )


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
