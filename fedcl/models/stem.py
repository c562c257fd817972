"""Build the first layers of ResNet and DenseNet: a wide convolution and a max pooling.

He et al., "Deep residual learning for image recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedcl.models.convolution import convolution
from fedcl.models.norm import Norm, normalisation
from fedcl.shapes import Volumes

KERNEL = 7


class Stem(nn.Module):
    """Reduce each axis to a quarter by a 7x7x7 convolution and a 3x3x3 max pooling of stride 2.

    Args:
        channels: Number of channels of a volume.
        width: Number of channels of the output.
        norm: Kind of normalisation layer: "group", or "batch" as published.
    """

    def __init__(self, channels: int, width: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv = convolution(channels, width, KERNEL, stride=2, padding=KERNEL // 2)
        self.norm = normalisation(norm, width)
        self.pool = nn.MaxPool3d(3, stride=2, padding=1, return_indices=True)

    def forward(self, volumes: Volumes) -> Tensor:
        normalised = self.norm(self.conv(volumes))
        # The maximum and the rectifier commute, and the pooled grid has an eighth of the voxels.
        return F.relu(self._pooled(normalised))

    def _pooled(self, volumes: Tensor) -> Tensor:
        if volumes.device.type != "cpu":
            return self.pool(volumes)[0]
        # On a CPU max pooling is several times faster with contiguous channels, but its backward
        # pass would convert them back. So the pooling only finds the positions of the maxima,
        # without a gradient; gathering the values there has the same gradient.
        channels_last = volumes.contiguous(memory_format=torch.channels_last_3d)
        with torch.no_grad():
            _, positions = self.pool(channels_last)
        rows, channels, *grid = positions.shape
        maxima = _rows(channels_last).gather(1, _rows(positions))
        return maxima.view(rows, *grid, channels).movedim(-1, 1).contiguous()


def _rows(volumes: Tensor) -> Tensor:
    """Return an array (row, channel, x, y, z) in the shape (row, voxel, channel)."""
    return volumes.movedim(1, -1).flatten(1, 3)
