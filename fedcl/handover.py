"""Large bytes handed between processes of one machine through files, not through a pipe.

A pipe moves a model in chunks of 64 kB, through the memory of a queue on each side; a file is
written once and stays in the system's page cache. A file that has been read is written again by
whoever needs one next: its pages are there already.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

_FREE = ".free"


@dataclass(frozen=True)
class Parcel:
    """Where some byte strings lie, and how long each is."""

    path: Path
    lengths: tuple[int, ...]

    def take(self) -> list[bytes]:
        """Return the byte strings, in order."""
        with self.path.open("rb") as file:
            return [file.read(length) for length in self.lengths]

    def discard(self) -> None:
        """Leave the file to whoever puts something next."""
        with suppress(FileNotFoundError):
            self.path.rename(self.path.with_suffix(_FREE))


def put(folder: Path, parts: Iterable[bytes]) -> Parcel:
    """Write byte strings to a file in `folder` that nobody else reads or writes."""
    path = _taken(folder, folder / uuid4().hex)
    with path.open("r+b") as file:
        lengths = [file.write(part) for part in parts]
        file.truncate()
    return Parcel(path, tuple(lengths))


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
