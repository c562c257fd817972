"""Draw two random augmentations of each participant, the views that a contrastive loss compares.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020,
https://arxiv.org/abs/2002.05709; for brain volumes Dufumier et al., MICCAI 2021,
https://arxiv.org/abs/2106.08808

MONAI's layers compute the augmentations on the batch's device. MONAI's own random transforms are
not used: they draw noise and cut boxes in NumPy on the CPU, and turn every result into a tensor
with metadata unless a flag is set for the whole process.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fedcl.config.views import (
    Affine,
    Blur,
    CropAndResize,
    Cutout,
    IdenticalViews,
    Noise,
    TableViews,
    Views,
    VolumeViews,
)
from fedcl.seeds import numpy_generator
from fedcl.shapes import Inputs

Volume = Float[Tensor, "channel x y z"]
FeatureRow = Float[Tensor, " feature"]
Scale = tuple[FeatureRow, FeatureRow]
"""Mean and standard deviation of every feature, in its own unit."""


@torch.no_grad()
def two_views(
    batch: Inputs, views: Views, *, seeds: Sequence[int], scale: Scale | None = None
) -> tuple[Inputs, Inputs]:
    """Return two augmentations of every participant, in the batch's order and on its device.

    A participant's views depend on their own array and seed, never on the rest of the batch. Noise
    is drawn on the device: a CPU and a GPU agree on everything but the noise values.

    Args:
        batch: Volumes or feature rows, float32, one per participant.
        views: Augmentations to draw, with their probabilities and strengths. With `kind: none` both
            results are the batch itself, the same object, so that the caller can encode it once.
        seeds: One integer per participant, derived by the caller from (seed, round, epoch,
            participant).
        scale: For tables, the mean and standard deviation by which the encoder standardises: noise
            is then in standard deviations of each feature, and a dropped feature takes its mean.
            Without it the table is taken as already standardised. Unused for volumes.

    Raises:
        ValueError: the number of seeds is not that of participants, or the views are of another
            kind than the arrays.
    """
    if len(seeds) != len(batch):
        raise ValueError(f"two_views: {len(batch)} participants but {len(seeds)} seeds")
    if isinstance(views, IdenticalViews):
        return batch, batch
    if batch.ndim != (5 if isinstance(views, VolumeViews) else 2):
        raise ValueError(f"two_views: {views.kind} views of a batch of shape {tuple(batch.shape)}")
    first, second = torch.empty_like(batch), torch.empty_like(batch)
    for participant, seed in enumerate(seeds):
        for number, result in enumerate((first, second)):
            random = numpy_generator(seed, "view", number)
            if isinstance(views, VolumeViews):
                result[participant] = volume_view(batch[participant], views, random)
            else:
                result[participant] = table_view(batch[participant], views, random, scale=scale)
    return first, second


def volume_view(volume: Volume, views: VolumeViews, random: np.random.Generator) -> Volume:
    """Return one augmentation of a volume on the same grid; axes are x (left-right), y, z."""
    for probability, augment in _steps(views):
        if random.random() < probability:
            volume = augment(volume, random)
    return volume


def table_view(
    row: FeatureRow, views: TableViews, random: np.random.Generator, *, scale: Scale | None = None
) -> FeatureRow:
    """Return one augmentation of a feature row: noise, then random features set to their mean.

    Args:
        row: One participant's features, float32.
        views: Noise and dropout to draw, with their probabilities and strengths.
        random: Generator of this view alone.
        scale: Mean and standard deviation of every feature; None for standardised features.
    """
    mean, sd = scale if scale is not None else (torch.zeros_like(row), torch.ones_like(row))
    if views.noise is not None and random.random() < views.noise.probability:
        strength = random.uniform(0, views.noise.sd)
        noise = random.standard_normal(len(row), dtype=np.float32)
        row = row + strength * torch.from_numpy(noise).to(row) * sd.to(row)
    if views.dropout is not None:
        dropped = random.random(len(row)) < views.dropout.probability
        row = torch.where(torch.from_numpy(dropped).to(row.device), mean.to(row), row)
    return row


Augment = Callable[[Volume, np.random.Generator], Volume]


def _steps(views: VolumeViews) -> Iterator[tuple[float, Augment]]:
    """Yield each augmentation and its probability: geometry first, the box of zeros last."""
    if (flip := views.flip) is not None:
        yield flip.probability, lambda volume, _: volume.flip(1)
    if (affine := views.affine) is not None:
        yield affine.probability, lambda volume, random: move(volume, affine, random)
    if (crop := views.crop_and_resize) is not None:
        yield crop.probability, lambda volume, random: crop_and_resize(volume, crop, random)
    if (blur := views.blur) is not None:
        yield blur.probability, lambda volume, random: gaussian_smooth(volume, blur, random)
    if (noise := views.noise) is not None:
        yield noise.probability, lambda volume, random: add_noise(volume, noise, random)
    if (cutout := views.cutout) is not None:
        yield cutout.probability, lambda volume, random: cut_out(volume, cutout, random)


def move(volume: Volume, affine: Affine, random: np.random.Generator) -> Volume:
    """Rotate a volume about its centre, shift and zoom it; voxels from outside it are zero.

    All axes have the same zoom, so that the brain keeps its proportions.
    """
    # Importing MONAI takes seconds, and only moved or blurred volumes need it.
    from monai.networks.layers import AffineTransform
    from monai.transforms.utils import create_rotate, create_scale, create_translate

    grid = np.array(volume.shape[1:])
    turn = math.radians(affine.rotation_degrees)
    angles = random.uniform(-turn, turn, size=3)
    shift = random.uniform(-affine.translation_fraction, affine.translation_fraction, size=3) * grid
    zoom = 1 + random.uniform(-affine.scaling_fraction, affine.scaling_fraction)
    centre = (grid - 1) / 2
    matrix = (
        create_translate(3, centre)
        @ create_rotate(3, angles)
        @ create_translate(3, shift)
        @ create_scale(3, [zoom] * 3)
        @ create_translate(3, -centre)
    )
    theta = torch.as_tensor(matrix, dtype=volume.dtype, device=volume.device)
    return AffineTransform(align_corners=False)(volume[None], theta)[0]


def crop_and_resize(volume: Volume, crop: CropAndResize, random: np.random.Generator) -> Volume:
    """Enlarge a random box to the full grid by trilinear interpolation, equally along all axes."""
    box = _box(volume, random.uniform(*crop.fraction), random)
    return F.interpolate(volume[box][None], size=volume.shape[1:], mode="trilinear")[0]


def gaussian_smooth(volume: Volume, blur: Blur, random: np.random.Generator) -> Volume:
    """Smooth a volume with a Gaussian, one SD per axis in voxels, truncated at 4 SD."""
    from monai.networks.layers import GaussianFilter

    return GaussianFilter(3, random.uniform(*blur.sigma_voxels, size=3).tolist())(volume[None])[0]


def add_noise(volume: Volume, noise: Noise, random: np.random.Generator) -> Volume:
    """Add independent Gaussian noise whose standard deviation is uniform up to `noise.sd`."""
    strength = random.uniform(0, noise.sd)
    generator = torch.Generator(volume.device).manual_seed(int(random.integers(2**63)))
    values = torch.randn(
        volume.shape, generator=generator, device=volume.device, dtype=volume.dtype
    )
    return values.mul_(strength).add_(volume)


def cut_out(volume: Volume, cutout: Cutout, random: np.random.Generator) -> Volume:
    """Set a random box to zero."""
    volume = volume.clone()
    volume[_box(volume, cutout.fraction, random)] = 0
    return volume


def _box(volume: Volume, fraction: float, random: np.random.Generator) -> tuple[slice, ...]:
    """Return a box inside the volume, its edges `fraction` of each axis and at least one voxel."""
    slices = [slice(None)]
    for voxels in volume.shape[1:]:
        edge = min(voxels, max(1, round(fraction * voxels)))
        start = int(random.integers(voxels - edge + 1))
        slices.append(slice(start, start + edge))
    return tuple(slices)
