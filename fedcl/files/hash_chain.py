"""Append JSON lines to a file in which each line holds the hash of the line before.

A second file, the mark, holds the number of lines and the hash of the last one: a file that was
shortened, altered, reordered or removed is refused. A process that is killed leaves at most an
incomplete line, which does not count, or a complete one without its mark, which counts. A person
who rewrites both files can invent another history; only a hash noted elsewhere
(`ChainContents.last`) reveals that.
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
"""Content of a line, without the hash of the line before."""

_START = "0" * 64
_BEFORE = "before"
_MARK = re.compile(r"(0|[1-9][0-9]{0,17}) ([0-9a-f]{64})\n?")
_BLOCK = 1 << 12


@dataclass(frozen=True)
class ChainContents:
    """Hold what was read from a chain.

    Attributes:
        entries: Lines of the file, up to the first one that cannot be trusted.
        last: Hash of the last of these lines, 64 hexadecimal digits.
        problem: Message that says which line cannot be trusted and what to do; None where the chain
            is intact.
        torn: Number of bytes of an incomplete last line, whose writer was killed.
        unmarked: Whether the last line has no mark, because its writer was killed or it was added
            by hand.
    """

    entries: tuple[ChainEntry, ...]
    last: str
    problem: str | None
    torn: int
    unmarked: bool


@dataclass(frozen=True)
class Chain:
    """Describe a chain on disk.

    Attributes:
        path: File of the chain; its mark and its lock lie beside it.
        name: Name of the chain in messages, such as "ledger".
        lines: Name of its lines in messages, such as "charges".
        durable: Whether a line must survive a power cut, not only the end of the process.
        error: Type of the error that is raised where the chain cannot be trusted.
        advice: End of such an error's message: what the user should do.
    """

    path: Path
    name: str
    lines: str
    durable: bool
    error: type[PrivacyError] = PrivacyError
    advice: str = "restore it from a backup"

    @property
    def mark(self) -> Path:
        """Return the path of the file that holds the mark."""
        return self.path.with_suffix(".head")

    @contextmanager
    def lock(self) -> Iterator["OpenChain"]:
        """Open the chain with an exclusive lock, so that no other process writes or reads it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_file.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield OpenChain(self)

    def append(self, entry: ChainEntry) -> None:
        """Append a line under an exclusive lock.

        Raises:
            PrivacyError: the end of the file does not match its mark; the error has type `error`.
        """
        with self.lock() as chain:
            chain.append(entry)

    def read(self) -> ChainContents:
        """Return all lines without changing any file, so that a read-only copy can be read too."""
        if not self._lock_file.exists():  # a copy, which no process writes to
            return read_chain(self)
        with self._lock_file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            return read_chain(self)

    @property
    def _lock_file(self) -> Path:
        return self.path.parent / f".{self.path.stem}.lock"


class OpenChain:
    """Read and write a chain while this process holds its lock."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def entries(self) -> tuple[ChainEntry, ...]:
        """Return all lines, after repairing what a killed process has left.

        Raises:
            PrivacyError: a line cannot be trusted; the error has the chain's own type.
        """
        contents = read_chain(self._chain)
        if contents.problem is not None:
            raise self._chain.error(contents.problem)
        if contents.torn:
            self._cut(contents.torn)
        if contents.unmarked:
            self._mark(len(contents.entries), contents.last)
        return contents.entries

    def append(self, entry: ChainEntry) -> None:
        """Append a line, in a time that does not grow with the file.

        Raises:
            PrivacyError: the end of the file does not match its mark; the error has the chain's own
                type.
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
        """Return the number of lines and the hash of the last, after repairing mark and file."""
        count, marked = read_mark(self._chain)
        line, torn = _tail(self._chain.path)
        last = _START if line is None else _digest(line)
        if last == marked and (count == 0) == (line is None):
            if torn:  # the writer was killed before the line was complete, so it does not count
                self._cut(torn)
            return count, last
        if line is not None and not torn and _follows(line, marked):
            self._mark(count + 1, last)  # the writer was killed between the line and its mark
            return count + 1, last
        # Reading the whole file finds the line that is wrong.
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
        # A rename would take a flush of the disk. Overwriting is safe: a kill cannot interrupt one
        # short write, and a mark never becomes shorter.
        with path.open("r+b", buffering=0) as file:
            file.write(text.encode())


def read_chain(chain: Chain) -> ChainContents:
    """Return the contents of a chain; no other process may write to it meanwhile."""
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
        del entries[-1:]  # if two lines do not match, either may be the altered one
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
    """Return the number of lines and the hash of the last one according to the mark.

    Raises:
        PrivacyError: the mark is damaged; the error has the chain's own type.
    """
    if not chain.mark.exists():
        return 0, _START
    # Bytes that are not ASCII are replaced and do not match.
    match = _MARK.fullmatch(chain.mark.read_bytes().decode("ascii", "replace"))
    if match is None:
        raise chain.error(f"{chain.mark}: damaged; {chain.advice}")
    return int(match[1]), match[2]


def _tail(path: Path) -> tuple[bytes | None, int]:
    """Return the last complete line of a file, and the number of bytes after it."""
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
