"""Large bytes handed between processes of one machine through files, not through a pipe.

A pipe moves a model in chunks of 64 kB, through the memory of a queue on each side; a file is
written once and stays in the system's page cache, where whoever opens it sees it without a copy. A
file that nobody looks at any more is written again by whoever needs one next: its pages are there
already.
"""

import mmap
import shutil
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from uuid import uuid4

_FREE = ".free"
_ALIGNED = 64
"""Bytes: every byte string begins at a multiple, as arrays in memory do."""
_SMALL = 2**16
"""Bytes of a file that is rather read: to look at it would take as long."""
_MOST_LOOKED_AT = 256
"""A file that is looked at stays open, and a process may have a thousand: further ones are read."""

_looked_at: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


@dataclass(frozen=True)
class Parcel:
    """Where some byte strings lie, and how long each is."""

    path: Path
    lengths: tuple[int, ...]

    def look(self) -> list[memoryview]:
        """Return the byte strings, in order; large ones are the file's own pages, read-only."""
        return self._views(self._whole())

    def take(self) -> list[memoryview]:
        """Return them to the last who looks: when nobody holds any, the file is for the next."""
        whole = self._whole()
        if isinstance(whole, mmap.mmap):
            weakref.finalize(whole, self._leave).atexit = False
        else:
            self._leave()
        return self._views(whole)

    def delete(self) -> None:
        """Take the file away; those who look at it still see it."""
        self.path.unlink(missing_ok=True)

    def _leave(self) -> None:
        with suppress(FileNotFoundError):
            self.path.rename(self.path.with_suffix(_FREE))

    def _whole(self) -> mmap.mmap | bytes:
        with self.path.open("rb") as file:
            if sum(self.lengths) < _SMALL or len(_looked_at) >= _MOST_LOOKED_AT:
                return file.read()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _looked_at.add(mapped)
        return mapped

    def _views(self, content: mmap.mmap | bytes) -> list[memoryview]:
        whole = memoryview(content)
        starts = accumulate((_padded(length) for length in self.lengths), initial=0)
        return [whole[a : a + n] for a, n in zip(starts, self.lengths, strict=False)]


def write_shared(folder: Path, parts: Iterable[bytes]) -> Parcel:
    """Write byte strings to a file in `folder` that nobody else reads or writes."""
    path, lengths = _taken(folder, folder / uuid4().hex), []
    with path.open("r+b") as file:
        for part in parts:
            lengths.append(file.write(part))
            file.write(bytes(_padded(len(part)) - len(part)))
        file.truncate()
    return Parcel(path, tuple(lengths))


def _padded(length: int) -> int:
    return -(-length // _ALIGNED) * _ALIGNED


def _taken(folder: Path, path: Path) -> Path:
    """Give a file that is free another name; a new one where none is."""
    for free in folder.glob(f"*{_FREE}"):
        with suppress(FileNotFoundError):  # another process was quicker
            free.rename(path)
            return path
    path.touch()
    return path


def fresh_folder(path: Path) -> Path:
    """Return an empty folder, whatever a killed process left in it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
