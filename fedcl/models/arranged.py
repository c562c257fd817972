"""Compute a 3D convolution in the order of operations that is fastest on a CPU.

oneDNN always computes 16 channels at a time, however few there are, and takes longer to prepare the
convolution of a single voxel than to compute it. For a narrow encoder on a small grid four other
orders are faster; the result is the same up to rounding:

- dense: where the kernel covers the grid, or both are small, the convolution is one matrix product
  from all voxels to all voxels;
- folded: the last axis is turned into channels, and the kernel into a band matrix along it;
- paired: two neighbouring outputs along the last axis become channels of one wider kernel;
- strided: for a kernel of one voxel, the voxels that it reads are selected first.

With eight to fifteen input channels the first axis is padded with zeros before the convolution.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LANES = 16
"""Number of channels that oneDNN computes at a time, in float32 with AVX-512."""

FEW_PRODUCTS = 2**21
"""Largest number of products to expand a kernel into a dense matrix for which that is faster."""


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: int
) -> Tensor:
    """Return `torch.nn.functional.conv3d` of a cubic kernel, on a CPU by the fastest method.

    Args:
        x: Input of shape (row, input channel, x, y, z).
        weight: Kernel of shape (output channel, input channel, k, k, k).
        bias: Constant of each output channel, shape (output channel,), or None.
        stride: Distance between two outputs in voxels, >= 1.
        padding: Number of zeros at both ends of each axis, in voxels.

    Returns:
        The output of shape (row, output channel, x', y', z'). The paired method returns it in the
        memory format with contiguous channels.
    """
    if x.device.type != "cpu":
        return F.conv3d(x, weight, bias, stride, padding)
    x = x.contiguous()  # oneDNN has open bugs in other layouts
    outputs, inputs, kernel = weight.shape[:3]
    grid = tuple(x.shape[2:])
    out = tuple((size + 2 * padding - kernel) // stride + 1 for size in grid)
    if min(out) < 1:
        return F.conv3d(x, weight, bias, stride, padding)  # raises the error for this shape
    widest, narrowest = max(inputs, outputs), min(inputs, outputs)
    pairs_of_voxels = _count(grid) * _count(out)
    products = kernel**3 * inputs * outputs * pairs_of_voxels
    if pairs_of_voxels <= kernel**3 or (kernel > 1 and products <= FEW_PRODUCTS):
        arranged = _dense(x, weight, out, stride=stride, padding=padding)
    elif (
        stride == 1
        and out == grid
        and widest < LANES
        and (narrowest < LANES // 2 or kernel > 3)
        and grid[-1] * widest <= LANES * kernel
    ):
        arranged = _folded(x, weight, padding=padding)
    elif kernel == 1 and stride > 1 and padding == 0:
        arranged = F.conv3d(x[:, :, ::stride, ::stride, ::stride].contiguous(), weight)
    else:
        around = (padding, padding, padding)
        slow = stride == 1 and LANES // 2 <= inputs < LANES
        wrong = stride > 1 and grid[0] <= kernel
        if padding and (slow or wrong):
            # With implicit padding, oneDNN 3.12 (PyTorch 2.13) takes 1.4 times as long as with
            # zeros in memory; and where the kernel is as long as the first axis, it computes the
            # weights' gradient from uninitialised memory, or crashes.
            x, around = F.pad(x, [0, 0, 0, 0, padding, padding]), (0, padding, padding)
        if inputs > 1 or 2 * outputs > LANES:
            return F.conv3d(x, weight, bias, stride, around)
        arranged = _paired(x, weight, out, stride=stride, padding=around)
    return arranged if bias is None else arranged + bias.view(-1, 1, 1, 1)


def _dense(x: Tensor, weight: Tensor, out: tuple[int, ...], *, stride: int, padding: int) -> Tensor:
    outputs, inputs, kernel = weight.shape[:3]
    grid = tuple(x.shape[2:])
    to, at = _count(out), _count(grid)
    taps = _taps(grid, kernel, stride, padding).to(weight.dtype)
    matrix = (weight.reshape(outputs * inputs, -1) @ taps).view(outputs, inputs, to, at)
    matrix = matrix.transpose(1, 2).reshape(outputs * to, inputs * at)
    return F.linear(x.reshape(len(x), inputs * at), matrix).view(len(x), outputs, *out)


def _folded(x: Tensor, weight: Tensor, *, padding: int) -> Tensor:
    outputs, inputs, kernel = weight.shape[:3]
    *plane, last = x.shape[2:]
    taps = _taps((last,), kernel, 1, padding).to(weight.dtype)
    band = (weight.reshape(-1, kernel) @ taps).view(outputs, inputs, kernel, kernel, last, last)
    band = band.permute(0, 4, 1, 5, 2, 3).reshape(outputs * last, inputs * last, kernel, kernel)
    rows = x.movedim(-1, 2).reshape(len(x), inputs * last, *plane)
    folded = F.conv2d(rows, band, padding=padding)
    return folded.view(len(x), outputs, last, *plane).movedim(2, -1).contiguous()


def _paired(
    x: Tensor, weight: Tensor, out: tuple[int, ...], *, stride: int, padding: tuple[int, ...]
) -> Tensor:
    outputs, pairs = len(weight), (out[-1] + 1) // 2
    if out[-1] % 2:
        x = F.pad(x, [0, stride])  # an odd last output gets a neighbour, which is cut off below
    both = torch.cat([F.pad(weight, [0, stride]), F.pad(weight, [stride, 0])])
    paired = F.conv3d(x, both, stride=(stride, stride, 2 * stride), padding=padding)
    # The channels of a pair are adjacent, so that one copy makes each voxel's channels contiguous.
    paired = paired.movedim(1, -1).reshape(len(x), *out[:2], 2 * pairs, outputs)
    return paired.movedim(-1, 1)[..., : out[-1]]


@lru_cache
def _taps(grid: tuple[int, ...], kernel: int, stride: int, padding: int) -> Tensor:
    """Return 1 where a kernel element connects an input to an output: (kernel^axes, out * in)."""
    taps = torch.ones(1, 1, 1)
    # The result is cached for calls that may differentiate, which inference tensors do not allow.
    with torch.inference_mode(False), torch.no_grad():
        for size in grid:
            to = torch.arange((size + 2 * padding - kernel) // stride + 1)
            reached = to * stride - padding + torch.arange(kernel)[:, None]
            axis = (reached[..., None] == torch.arange(size)).float()
            taps = torch.einsum("kab,lcd->klacbd", taps, axis)
            taps = taps.flatten(4).flatten(2, 3).flatten(0, 1)
    return taps.flatten(1)


def _count(grid: tuple[int, ...]) -> int:
    return grid[0] * grid[1] * grid[2]
