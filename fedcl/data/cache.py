"""Keep preprocessed volumes on disk: each is made once, then read back as it was stored.

The key of a volume is a hash of its source file's content and of the preprocessing settings, so
that a replaced file or another grid never finds an old entry. As in git, the content is hashed
again only when the size or the modification time of the file has changed. Several processes may
fill the same cache.
"""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedcl.files.atomic import write_file, write_text


class VolumeCache:
    """Give access to the cached volumes of one cohort under one set of preprocessing settings.

    Args:
        root: Root folder of the cache, shared by all cohorts.
        settings: Text that names everything that decides how a source file becomes an array.
    """

    def __init__(self, root: Path, settings: str) -> None:
        self.root = root
        self.folder = root / hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._paths: dict[tuple[str, str], Path] = {}
        self._layout: tuple[bytes, np.dtype, tuple[int, ...]] | None = None

    def read(
        self, source: Path, make: Callable[[Path], np.ndarray], *, variant: str = ""
    ) -> np.ndarray:
        """Return the preprocessed volume of a scan, float16; it is made now if it is not cached.

        Args:
            source: File of the scan as acquired.
            make: Function that decodes and preprocesses the file; called only for a new entry.
            variant: Text that tells apart several entries made from the same file.
        """
        path = self.path(source, variant)
        if not path.exists():
            import torch  # the import takes a second, and reading cached entries does not need it

            # NumPy takes five times as long to round to float16.
            array = torch.from_numpy(make(source)).half().numpy()
            write_file(path, lambda temporary: _save(temporary, array))
        return self._read(path)

    def _read(self, path: Path) -> np.ndarray:
        # An epoch reads every volume whole. Memory-mapping a small volume takes seven times as long
        # as reading it, mostly to parse the header, which is the same in all entries.
        data = path.read_bytes()
        if self._layout is None or not data.startswith(self._layout[0]):
            array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
            self._layout = data[: len(data) - array.nbytes], array.dtype, array.shape
        header, dtype, shape = self._layout
        return np.frombuffer(data, dtype, offset=len(header)).reshape(shape)

    def path(self, source: Path, variant: str = "") -> Path:
        """Return the path at which the entry of a source file is stored, now or later."""
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
            pass  # no recorded hash yet, or an incomplete record: hash again
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        write_text(index, json.dumps({"stamp": stamp, "sha256": content}))
        return content


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
