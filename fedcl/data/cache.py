"""Preprocessed volumes on disk: each is made once, then read as it lies.

A volume's key is the content of its source file and everything that was done to it, so a replaced
file or another grid never meets an old entry. Content is hashed when a file's size or time of
change is new, as git does. Several processes may fill the same cache.
"""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedcl.files.atomic import write_file, write_text


class VolumeCache:
    """Entries of one cohort under one set of settings.

    Args:
        root: The cache's folder, shared by all cohorts.
        settings: Everything that decides how a source file becomes an array, as text.
    """

    def __init__(self, root: Path, settings: str) -> None:
        self.root = root
        self.folder = root / hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._paths: dict[tuple[str, str], Path] = {}
        self._layout: tuple[bytes, np.dtype, tuple[int, ...]] | None = None

    def read(
        self, source: Path, make: Callable[[Path], np.ndarray], *, variant: str = ""
    ) -> np.ndarray:
        """Return the preprocessed volume of `source`, made now if it is not there; float16.

        Args:
            source: The scan's file.
            make: Decodes and preprocesses it; called only for a new entry.
            variant: Distinguishes entries made from the same file.
        """
        path = self.path(source, variant)
        if not path.exists():
            import torch  # takes a second, which who reads what is there need not wait

            # NumPy takes five times as long to round to float16.
            array = torch.from_numpy(make(source)).half().numpy()
            write_file(path, lambda temporary: _save(temporary, array))
        return self._read(path)

    def _read(self, path: Path) -> np.ndarray:
        # An epoch reads every volume whole. Mapping one takes seven times as long as reading a
        # small one, most of it to parse the header, which all entries share.
        data = path.read_bytes()
        if self._layout is None or not data.startswith(self._layout[0]):
            array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
            self._layout = data[: len(data) - array.nbytes], array.dtype, array.shape
        header, dtype, shape = self._layout
        return np.frombuffer(data, dtype, offset=len(header)).reshape(shape)

    def path(self, source: Path, variant: str = "") -> Path:
        """Return where the entry of a source file is or will be."""
        key = (str(source), variant)
        if key not in self._paths:
            name = hashlib.sha256(f"{self._content(source)}{variant}".encode()).hexdigest()[:32]
            self._paths[key] = self.folder / name[:2] / f"{name}.npy"
        return self._paths[key]

    def _content(self, source: Path) -> str:
        status = source.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        note = hashlib.sha256(str(source.absolute()).encode()).hexdigest()[:32]
        index = self.root / "content" / note[:2] / f"{note}.json"
        try:
            known = json.loads(index.read_text(encoding="utf-8"))
            if known["stamp"] == stamp:
                return str(known["sha256"])
        except (OSError, ValueError, KeyError):
            pass  # no note yet, or a torn one: hash again
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        write_text(index, json.dumps({"stamp": stamp, "sha256": content}))
        return content


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
