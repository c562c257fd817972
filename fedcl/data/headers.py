"""Read the voxel grid of a scan's file from its header alone."""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError


@dataclass(frozen=True)
class GridHeader:
    """Describe the voxel grid of one file as text.

    Attributes:
        shape: Number of elements along each axis, such as "121 x 145 x 121".
        voxel_mm: Edge lengths of a voxel in mm; None where the file does not tell (`.npy`).
        axes: Direction of each axis, such as RAS (right, anterior, superior); None where the file
            does not tell.
    """

    shape: str
    voxel_mm: str | None
    axes: str | None


def read_header(path: Path) -> GridHeader | None:
    """Return the grid that a `.npy` or NIfTI file declares; None where it cannot be read."""
    try:
        if path.suffix == ".npy":
            return GridHeader(_times(np.load(path, mmap_mode="r").shape), None, None)
        image = nibabel.load(path)
        edges = (f"{float(edge):.4g}" for edge in image.header.get_zooms()[:3])
        axes = "".join(nibabel.aff2axcodes(image.affine))
        return GridHeader(_times(image.shape), _times(edges), axes)
    except (ImageFileError, EOFError, OSError, ValueError, TypeError):
        return None  # reading the scan itself says what is wrong with it


def _times(parts: object) -> str:
    return " x ".join(str(part) for part in parts)  # type: ignore[attr-defined]
