"""Turn a scan's file into a preprocessed volume: decode, check, resample and scale it."""

from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError

from fedcl.errors import DataError

Intensity = Literal["vbm", "zscore"]

_PERCENT_ABOVE = 1.5
"""Grey-matter maps with a larger maximum are in percent: modulated density stays below it."""


def read_npy(path: Path, participant: str) -> np.ndarray:
    """Return the array of a `.npy` file, float32.

    Raises:
        DataError: the file is absent, truncated, pickled or not numeric.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: participant {participant} is listed but has no scan") from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: participant {participant}: truncated or not a plain .npy array ({error}); "
            "copy the file again"
        ) from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: participant {participant}: holds {array.dtype}, expected numbers")
    return array.astype(np.float32)


def read_nifti(path: Path, participant: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the volume of a NIfTI file in RAS order, float32, and its affine from voxels to mm.

    Raises:
        DataError: the file is truncated, not an image, or not three-dimensional.
    """
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        data = np.asarray(image.dataobj, dtype=np.float32)
    except (ImageFileError, EOFError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: participant {participant}: truncated or not a NIfTI image ({reason}); copy "
            "the file again"
        ) from None
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise DataError(
            f"{path}: participant {participant}: shape {data.shape}, expected a 3D volume; choose "
            "one with data.pattern"
        )
    return np.ascontiguousarray(data), image.affine


def check_finite(volume: np.ndarray, path: Path, participant: str) -> None:
    """Check that a volume is finite everywhere and not constant.

    Raises:
        DataError: it is not; the message names the participant and the number of such voxels.
    """
    wrong = int((~np.isfinite(volume)).sum())
    if wrong:
        raise DataError(
            f"{path}: participant {participant}: {wrong} voxels are NaN or infinite; preprocess "
            "the scan again or leave the participant out"
        )
    if volume.size and volume.min() == volume.max():
        raise DataError(f"{path}: participant {participant}: the volume is constant")


def to_spacing(
    volume: np.ndarray, affine: np.ndarray, *, grid: tuple[int, ...], spacing_mm: tuple[float, ...]
) -> np.ndarray:
    """Resample a RAS volume to voxels of `spacing_mm`, then crop or pad it around its centre."""
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms import ResizeWithPadOrCrop, Spacing

    image = MetaTensor(torch.from_numpy(volume)[None], affine=torch.as_tensor(affine.copy()))
    spaced = Spacing(pixdim=spacing_mm, mode="bilinear", padding_mode="zeros")(image)
    return ResizeWithPadOrCrop(spatial_size=grid)(spaced).as_tensor()[0].numpy()


def to_grid(volume: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Resample a volume to `grid` over the same field of view; shrinking averages over voxels."""
    tensor = torch.from_numpy(np.ascontiguousarray(volume))[None, None]
    if all(size <= old for size, old in zip(grid, volume.shape, strict=True)):
        return torch.nn.functional.adaptive_avg_pool3d(tensor, grid)[0, 0].numpy()
    resized = torch.nn.functional.interpolate(
        tensor, size=grid, mode="trilinear", align_corners=False
    )
    return resized[0, 0].numpy()


def scale(volume: np.ndarray, intensity: Intensity) -> np.ndarray:
    """Return the volume as grey-matter density in [0, 1] ("vbm") or z-scores over the brain.

    A density in percent is divided by 100. The brain is where the volume is not zero; z-scores are
    zero outside it.
    """
    if intensity == "vbm":
        return volume / 100 if volume.max() > _PERCENT_ABOVE else volume
    brain = volume != 0
    inside = volume[brain]
    spread = float(inside.std()) or 1.0
    return np.where(brain, (volume - inside.mean()) / spread, 0.0).astype(np.float32)
