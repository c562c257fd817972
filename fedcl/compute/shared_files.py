"""Pass large byte strings between processes of one machine through files instead of a pipe.

A pipe transfers a model in chunks of 64 kB, through the memory of a queue on each side. A file is
written once and stays in the system's page cache, where every process that maps it reads it without
a copy. A file that is no longer mapped is overwritten by the next writer, since its memory pages
are already allocated.
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
"""Alignment in bytes: every byte string begins at a multiple of it, as arrays in memory do."""
_SMALL = 2**16
"""Size in bytes below which a file is read, since mapping it would take as long."""
_MOST_MAPPED = 256
"""Largest number of mapped files. A mapped file stays open, and a process may open about a
thousand, so that further files are read instead."""

_mapped_files: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


@dataclass(frozen=True)
class Parcel:
    """Identify a file of several byte strings, with the length of each in bytes."""

    path: Path
    lengths: tuple[int, ...]

    def look(self) -> list[memoryview]:
        """Return the byte strings in order, read-only; those of large files are memory-mapped."""
        return self._views(self._whole())

    def take(self) -> list[memoryview]:
        """Return the byte strings to their last reader; once released, the file is reused."""
        whole = self._whole()
        if isinstance(whole, mmap.mmap):
            weakref.finalize(whole, self._leave).atexit = False
        else:
            self._leave()
        return self._views(whole)

    def delete(self) -> None:
        """Delete the file; processes that have mapped it can still read it."""
        self.path.unlink(missing_ok=True)

    def _leave(self) -> None:
        with suppress(FileNotFoundError):
            self.path.rename(self.path.with_suffix(_FREE))

    def _whole(self) -> mmap.mmap | bytes:
        with self.path.open("rb") as file:
            if sum(self.lengths) < _SMALL or len(_mapped_files) >= _MOST_MAPPED:
                return file.read()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _mapped_files.add(mapped)
        return mapped

    def _views(self, content: mmap.mmap | bytes) -> list[memoryview]:
        whole = memoryview(content)
        starts = accumulate((_padded(length) for length in self.lengths), initial=0)
        return [whole[a : a + n] for a, n in zip(starts, self.lengths, strict=False)]


def write_shared(folder: Path, parts: Iterable[bytes]) -> Parcel:
    """Write byte strings to a file in `folder` that no other process reads or writes."""
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
    """Return `path` after renaming a free file to it, or creating it where none is free."""
    for free in folder.glob(f"*{_FREE}"):
        with suppress(FileNotFoundError):  # another process has taken this file
            free.rename(path)
            return path
    path.touch()
    return path


def fresh_folder(path: Path) -> Path:
    """Return the folder `path` after deleting its content and creating it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
