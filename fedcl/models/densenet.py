"""Build DenseNet-121 in three dimensions, and the smaller tiny-DenseNet made for brain scans.

Huang et al., "Densely connected convolutional networks", CVPR 2017,
https://arxiv.org/abs/1608.06993; Dufumier et al., "Benchmarking CNN on 3D anatomical brain MRI",
2021, https://arxiv.org/abs/2106.01132 (tiny-DenseNet)

Unlike the papers, group normalisation is the default; the number of parameters is the same.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedcl.models.convolution import convolution
from fedcl.models.encoder import Encoder, require_volumes
from fedcl.models.norm import Norm, normalisation
from fedcl.models.stem import Stem
from fedcl.shapes import Representation, Volumes

BOTTLENECK = 4
"""Number of channels between a layer's two convolutions, in multiples of its growth."""


class DenseNet(Encoder):
    """Encode a volume by blocks in which each layer reads all previous ones, then average the grid.

    The network reads any grid; an axis of a single voxel is not halved further.

    Args:
        width: Number of channels of the first stage.
        growth: Number of channels that each layer adds.
        layers: Number of layers of each block; between two blocks channels and axes are halved.
        channels: Number of channels of a volume.
        norm: Kind of normalisation layers: "group", or "batch" as published.
    """

    def __init__(
        self,
        width: int,
        *,
        growth: int,
        layers: tuple[int, ...],
        channels: int = 1,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        self.stem = Stem(channels, width, norm=norm)
        stages: list[nn.Module] = []
        for block, count in enumerate(layers):
            if block > 0:
                stages.append(Transition(width, width // 2, norm=norm))
                width = width // 2
            for _ in range(count):
                stages.append(DenseLayer(width, growth, norm=norm))
                width = width + growth
        self.stages = nn.Sequential(*stages)
        self.last_norm = normalisation(norm, width)
        self.width = width

    def forward(self, volumes: Volumes) -> Representation:
        """Return one non-negative row of length `width` per volume."""
        require_volumes(volumes)
        return F.relu(self.last_norm(self.stages(self.stem(volumes)))).mean(dim=(2, 3, 4))

    def parts(self) -> list[nn.Module]:
        """Return the stem, each layer and each transition."""
        return [self.stem, *self.stages]


class DenseLayer(nn.Module):
    """Append the output of a 1x1x1 and a 3x3x3 convolution to the input channels."""

    def __init__(self, inputs: int, growth: int, *, norm: Norm) -> None:
        super().__init__()
        self.norm1 = normalisation(norm, inputs)
        self.conv1 = convolution(inputs, BOTTLENECK * growth, 1)
        self.norm2 = normalisation(norm, BOTTLENECK * growth)
        self.conv2 = convolution(BOTTLENECK * growth, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        bottleneck = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(bottleneck)))], dim=1)


class Transition(nn.Module):
    """Reduce the number of channels and halve the grid, rounding down to at least one voxel."""

    def __init__(self, inputs: int, outputs: int, *, norm: Norm) -> None:
        super().__init__()
        self.norm = normalisation(norm, inputs)
        self.conv = convolution(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.relu(self.norm(x)))
        return F.avg_pool3d(x, kernel_size=[min(2, voxels) for voxels in x.shape[2:]])


def densenet121(width: int = 64, *, channels: int = 1, norm: Norm = "group") -> DenseNet:
    """Return DenseNet-121: 11,242,624 parameters and a representation of 1024 at width 64.

    Args:
        width: Number of channels of the first stage, >= 2; the growth is half of it (32 as
            published).
        channels: Number of channels of a volume.
        norm: Kind of normalisation layers: "group", or "batch" as published.

    Returns:
        A module that maps volumes of shape (participant, channel, x, y, z), float32 and of any
        grid, to non-negative rows of shape (participant, 16 width).

    Example:
        >>> import torch
        >>> from fedcl.models import densenet121
        >>> densenet121(width=4)(torch.zeros(2, 1, 24, 29, 24)).shape
        torch.Size([2, 64])
    """
    return DenseNet(
        width, growth=max(1, width // 2), layers=(6, 12, 24, 16), channels=channels, norm=norm
    )


def tiny_densenet(width: int = 64, *, channels: int = 1, norm: Norm = "group") -> DenseNet:
    """Return tiny-DenseNet: 1,462,480 parameters and a representation of 392 at width 64.

    With the 1000-class output of its first publication it has 1,855,480 parameters.

    Args:
        width: Number of channels of the first stage, >= 2; the growth is a quarter of it (16 as
            published).
        channels: Number of channels of a volume.
        norm: Kind of normalisation layers: "group", or "batch" as published.

    Returns:
        A module that maps volumes of shape (participant, channel, x, y, z), float32 and of any
        grid, to non-negative rows, of length `encoder.width`.

    Example:
        >>> import torch
        >>> from fedcl.models import tiny_densenet
        >>> encoder = tiny_densenet(width=8)
        >>> encoder(torch.zeros(2, 1, 24, 29, 24)).shape == (2, encoder.width)
        True
    """
    return DenseNet(
        width, growth=max(1, width // 4), layers=(6, 12, 16), channels=channels, norm=norm
    )
