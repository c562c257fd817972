"""Large bytes handed between processes of one machine through files, not through a pipe.

A pipe moves a model in chunks of 64 kB, through the memory of a queue on each side; a file is
written once and stays in the system's page cache.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4


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
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def put(folder: Path, parts: Iterable[bytes]) -> Parcel:
    """Write byte strings to a new file in `folder`."""
    path = folder / uuid4().hex
    lengths = []
    with path.open("wb") as file:
        for part in parts:
            lengths.append(file.write(part))
    return Parcel(path, tuple(lengths))


def fresh_folder(path: Path) -> Path:
    """Return an empty folder, whatever a killed process left in it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
