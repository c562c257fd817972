"""Build ResNet-18 in three dimensions, the encoder of the L_exp results on OpenBHB.

Barbano et al., "Contrastive learning for regression in multi-site brain age prediction", ISBI 2023,
https://arxiv.org/abs/2211.08326; He et al., "Deep residual learning for image recognition",
CVPR 2016, https://arxiv.org/abs/1512.03385

Unlike the paper, group normalisation is the default; the number of parameters is the same.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from fedcl.models.convolution import convolution
from fedcl.models.encoder import Encoder, require_volumes
from fedcl.models.norm import Norm, normalisation
from fedcl.models.stem import Stem
from fedcl.shapes import Representation, Volumes


class ResNet18(Encoder):
    """Encode a volume by four stages of two residual blocks, then average over the grid.

    At width 64 and one channel it has 33,160,000 parameters. It reads any grid: each axis is halved
    up to five times, rounding up.

    Args:
        width: Channels of the first stage; the others have 2, 4 and 8 times as many.
        channels: Number of channels of a volume.
        norm: Kind of normalisation layers: "group", or "batch" as published.
    """

    def __init__(self, width: int = 64, *, channels: int = 1, norm: Norm = "group") -> None:
        super().__init__()
        self.width = 8 * width
        self.stem = Stem(channels, width, norm=norm)
        self.stages = nn.Sequential(
            _stage(width, width, stride=1, norm=norm),
            _stage(width, 2 * width, stride=2, norm=norm),
            _stage(2 * width, 4 * width, stride=2, norm=norm),
            _stage(4 * width, 8 * width, stride=2, norm=norm),
        )

    def forward(self, volumes: Volumes) -> Representation:
        """Return one non-negative row of length `width` per volume."""
        require_volumes(volumes)
        return self.stages(self.stem(volumes)).mean(dim=(2, 3, 4))

    def parts(self) -> list[nn.Module]:
        """Return the stem and each residual block."""
        blocks = (block for stage in self.stages.children() for block in stage.children())
        return [self.stem, *blocks]


class BasicBlock(nn.Module):
    """Add the output of two 3x3x3 convolutions to a shortcut of the input."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride=stride, padding=1)
        self.norm1 = normalisation(norm, outputs)
        self.conv2 = convolution(outputs, outputs, 3, padding=1)
        self.norm2 = normalisation(norm, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                convolution(inputs, outputs, 1, stride=stride), normalisation(norm, outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


def resnet18(width: int = 64, *, channels: int = 1, norm: Norm = "group") -> ResNet18:
    """Return ResNet-18 in three dimensions: 33,160,000 parameters and a representation of 512.

    Args:
        width: Channels of the first stage, >= 1; 64 as published. The representation is 8 times
            as long.
        channels: Channels of a volume, >= 1.
        norm: "group", or "batch" as published.

    Returns:
        A module that maps volumes of shape (participant, channel, x, y, z), float32 and of any
        grid, to non-negative rows of shape (participant, 8 width).

    Example:
        >>> import torch
        >>> from fedcl.models import resnet18
        >>> resnet18(width=4)(torch.zeros(2, 1, 24, 29, 24)).shape
        torch.Size([2, 32])
    """
    return ResNet18(width, channels=channels, norm=norm)


def _stage(inputs: int, outputs: int, *, stride: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride=stride, norm=norm),
        BasicBlock(outputs, outputs, stride=1, norm=norm),
    )
