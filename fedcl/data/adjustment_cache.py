"""Sites' adjustments on disk: written once, then memory-mapped, float32.

One is as large as a preprocessed volume or two, and there is one per site.
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

    Files are named whole and the list of them last, so that a fit that was killed is made again,
    and two processes that make the same one do each other no harm.

    Args:
        folder: Named by what the adjustments are a function of.
        make: Yields one site's at a time; called only if the folder has no list.
    """
    listing = folder / "sites.json"
    if not listing.exists():
        files: dict[str, str] = {}
        for number, (site, one) in enumerate(make()):
            files[site] = f"{number:04d}.npy"
            _write(folder / files[site], np.stack([one.factor, one.offset]))
            if number == 0 and one.slopes is not None:
                _write(folder / _SLOPES, one.slopes)
        write_json(listing, files)
    slopes = _mapped(folder / _SLOPES) if (folder / _SLOPES).exists() else None
    found: dict[str, Adjustment] = {}
    for site, file in json.loads(listing.read_text(encoding="utf-8")).items():
        factor, offset = _mapped(folder / file)
        found[site] = Adjustment(factor, offset, slopes)
    return found


def _mapped(file: Path) -> np.ndarray:
    return np.asarray(np.load(file, mmap_mode="r"))


def _write(path: Path, array: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array.astype(np.float32))

    write_file(path, write)
