"""Keep the harmonisation adjustments of sites on disk: written once, then memory-mapped, float32.

The adjustment of one site is as large as two preprocessed volumes; all do not fit in memory.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from fedcl.files.atomic import write_file, write_json
from fedcl.harmonisation.adjustment import Adjustment

_SLOPES = "slopes.npy"


def adjustments_on_disk(
    folder: Path, make: Callable[[], Iterable[tuple[str, Adjustment]]]
) -> dict[str, Adjustment]:
    """Return the adjustments in `folder` by site, made now if they are not there.

    Every file is written under a temporary name and renamed when complete, and the list of files is
    written last: a fit that was interrupted is made again, and two processes that make the same fit
    do not disturb each other.

    Args:
        folder: Folder of one fit, whose name is a hash of everything that decides the adjustments.
        make: Function that yields (site, adjustment) pairs; called only if the folder has no list.
    """
    listing = folder / "sites.json"
    if not listing.exists():
        files: dict[str, str] = {}
        for number, (site, adjustment) in enumerate(make()):
            files[site] = f"{number:04d}.npy"
            _write(folder / files[site], np.stack([adjustment.factor, adjustment.offset]))
            if number == 0 and adjustment.slopes is not None:
                _write(folder / _SLOPES, adjustment.slopes)
        write_json(listing, files)
    slopes = _mapped(folder / _SLOPES) if (folder / _SLOPES).exists() else None
    adjustments: dict[str, Adjustment] = {}
    for site, file in json.loads(listing.read_text(encoding="utf-8")).items():
        factor, offset = _mapped(folder / file)
        adjustments[site] = Adjustment(factor, offset, slopes)
    return adjustments


def _mapped(file: Path) -> np.ndarray:
    return np.asarray(np.load(file, mmap_mode="r"))


def _write(path: Path, array: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array.astype(np.float32))

    write_file(path, write)
