"""Build AlexNet in three dimensions, a shallow encoder with early and strong pooling.

Abrol et al., "Deep learning encodes robust discriminative neuroimaging representations to
outperform standard machine learning", Nature Communications 2021,
https://doi.org/10.1038/s41467-020-20655-6; used as a baseline by Barbano et al. 2023,
https://arxiv.org/abs/2211.08326

Unlike the papers, group normalisation is the default; the number of parameters is the same.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from fedcl.models.convolution import convolution
from fedcl.models.encoder import Encoder, require_volumes
from fedcl.models.norm import Norm, normalisation
from fedcl.shapes import Representation, Volumes

SMALLEST_AXIS = 33
"""Shortest axis in voxels that unpadded convolutions and pooling reduce to at least one voxel."""


class AlexNet(Encoder):
    """Encode a volume by five convolutions, then take the maximum of each channel over the grid.

    At width 64 and one channel it has 2,553,728 parameters and a representation of length 128.
    Unlike the papers, an axis shorter than 33 voxels is first padded with zeros, half at each end.

    Args:
        width: Channels of the first convolution; the others have 2, 3, 3 and 2 times as many.
        channels: Number of channels of a volume.
        norm: Kind of normalisation layers: "group", or "batch" as published.
    """

    def __init__(self, width: int = 64, *, channels: int = 1, norm: Norm = "group") -> None:
        super().__init__()
        self.width = 2 * width
        self.stages = nn.Sequential(
            _stage(channels, width, 5, stride=2, padding=0, norm=norm),
            nn.MaxPool3d(3, stride=3),
            _stage(width, 2 * width, 3, stride=1, padding=0, norm=norm),
            nn.MaxPool3d(3, stride=3),
            _stage(2 * width, 3 * width, 3, stride=1, padding=1, norm=norm),
            _stage(3 * width, 3 * width, 3, stride=1, padding=1, norm=norm),
            _stage(3 * width, 2 * width, 3, stride=1, padding=1, norm=norm),
        )

    def forward(self, volumes: Volumes) -> Representation:
        """Return one non-negative row of length `width` per volume."""
        require_volumes(volumes)
        return self.stages(_at_least(volumes, SMALLEST_AXIS)).amax(dim=(2, 3, 4))

    def parts(self) -> list[nn.Module]:
        """Return each convolution with its normalisation, and each pooling."""
        return list(self.stages)


def alexnet(width: int = 64, *, channels: int = 1, norm: Norm = "group") -> AlexNet:
    """Return AlexNet in three dimensions: 2,553,728 parameters and a representation of 128.

    Args:
        width: Channels of the first convolution, >= 1; 64 as published. The representation is
            twice as long.
        channels: Channels of a volume, >= 1.
        norm: "group", or "batch" as published.

    Returns:
        A module that maps volumes of shape (participant, channel, x, y, z), float32 and of any
        grid, to non-negative rows of shape (participant, 2 width).

    Example:
        >>> import torch
        >>> from fedcl.models import alexnet
        >>> alexnet(width=4)(torch.zeros(2, 1, 24, 29, 24)).shape
        torch.Size([2, 8])
    """
    return AlexNet(width, channels=channels, norm=norm)


def _stage(
    inputs: int, outputs: int, kernel: int, *, stride: int, padding: int, norm: Norm
) -> nn.Sequential:
    return nn.Sequential(
        convolution(inputs, outputs, kernel, stride=stride, padding=padding, bias=True),
        normalisation(norm, outputs),
        nn.ReLU(),
    )


def _at_least(volumes: Tensor, voxels: int) -> Tensor:
    ends: list[int] = []
    for axis in (4, 3, 2):  # F.pad counts from the last axis
        missing = max(0, voxels - volumes.shape[axis])
        ends += [missing // 2, missing - missing // 2]
    return F.pad(volumes, ends)
