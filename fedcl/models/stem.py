"""The first layers that ResNet and DenseNet share: a wide convolution and a pooling.

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
    """A 7x7x7 convolution of stride 2 and a 3x3x3 maximum of stride 2: a quarter of each axis.

    Args:
        channels: Channels of a volume.
        width: Channels of the output.
        norm: See `normalisation`.
    """

    def __init__(self, channels: int, width: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv = convolution(channels, width, KERNEL, stride=2, padding=KERNEL // 2)
        self.norm = normalisation(norm, width)
        self.pool = nn.MaxPool3d(3, stride=2, padding=1, return_indices=True)

    def forward(self, volumes: Volumes) -> Tensor:
        found = self.norm(self.conv(volumes))
        return F.relu(self._pooled(found))  # as before the pooling, of an eighth of the voxels

    def _pooled(self, volumes: Tensor) -> Tensor:
        if volumes.device.type != "cpu":
            return self.pool(volumes)[0]
        # A CPU compares voxels several times faster where their channels lie together. Which are
        # the largest is asked without the pooling's backward pass, which would take them apart
        # again: the gradient of picking them is the same.
        together = volumes.contiguous(memory_format=torch.channels_last_3d)
        with torch.no_grad():
            _, at = self.pool(together)
        rows, channels, *grid = at.shape
        picked = _rows(together).gather(1, _rows(at))
        return picked.view(rows, *grid, channels).movedim(-1, 1).contiguous()


def _rows(volumes: Tensor) -> Tensor:
    """Return (row, voxel, channel) of (row, channel, x, y, z)."""
    return volumes.movedim(1, -1).flatten(1, 3)
