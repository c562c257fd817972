"""Build the 3D convolution that all volume encoders use, with its initial weights.

He et al., "Delving deep into rectifiers", ICCV 2015, https://arxiv.org/abs/1502.01852
"""

from functools import partial

from torch import nn

from fedcl.models.arranged import convolve


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
) -> nn.Conv3d:
    """Return a cubic convolution whose weights keep the variance of the gradients.

    Args:
        inputs: Number of input channels, >= 1.
        outputs: Number of output channels, >= 1.
        kernel: Edge length of the kernel in voxels, >= 1.
        stride: Distance between two outputs in voxels, >= 1.
        padding: Number of zeros at both ends of each axis, in voxels.
        bias: Whether a constant per channel is learnt; useless before a normalisation.
    """
    layer = nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)
    # The layer stays an `nn.Conv3d`, because Opacus recognises layers by their type.
    layer._conv_forward = partial(convolve, stride=stride, padding=padding)  # type: ignore[method-assign]
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
