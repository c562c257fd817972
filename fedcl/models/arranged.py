"""The same convolution with its products in another order, which a CPU does faster.

oneDNN computes 16 channels at a time, whether there are as many or not, and takes longer to prepare
a convolution of a single voxel than to compute it. Four orders help a narrow encoder on a small
grid; what they add up is the same, up to rounding:

- dense: where the kernel covers the grid, or the two are small, one matrix from all voxels to all
  voxels;
- folded: the last axis becomes channels, and the kernel a band matrix along it;
- paired: two neighbouring outputs along the last axis are channels of one wider kernel;
- picked: a kernel of one voxel is given only the voxels that it reads.

With eight to fifteen input channels the zeros around the first axis are written down.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LANES = 16
"""Channels that oneDNN computes at a time, in float32 with AVX-512."""

FEW_PRODUCTS = 2**21
"""That lay a kernel out as a matrix from all voxels to all voxels: it then is the faster way."""


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: int
) -> Tensor:
    """Return `torch.nn.functional.conv3d` of a cubic kernel; on a CPU in the order that suits.

    Args:
        x: (row, input channel, x, y, z).
        weight: (output channel, input channel, k, k, k).
        bias: (output channel,), or None.
        stride: Voxels between two outputs, >= 1.
        padding: Zeros at both ends of each axis, in voxels.

    Returns:
        (row, output channel, x', y', z'); paired, with its channels together in memory.
    """
    if x.device.type != "cpu":
        return F.conv3d(x, weight, bias, stride, padding)
    x = x.contiguous()  # oneDNN has open bugs in other layouts
    outputs, inputs, kernel = weight.shape[:3]
    grid = tuple(x.shape[2:])
    out = tuple((size + 2 * padding - kernel) // stride + 1 for size in grid)
    if min(out) < 1:
        return F.conv3d(x, weight, bias, stride, padding)  # which says what is wrong
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
            # oneDNN 3.12 (PyTorch 2.13) takes 1.4 times as long to think of these zeros as to read
            # them; and where the kernel is as long as the first axis, it computes the weights'
            # gradient from memory that it never wrote, or crashes.
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
    found = F.conv2d(rows, band, padding=padding)
    return found.view(len(x), outputs, last, *plane).movedim(2, -1).contiguous()


def _paired(
    x: Tensor, weight: Tensor, out: tuple[int, ...], *, stride: int, padding: tuple[int, ...]
) -> Tensor:
    outputs, pairs = len(weight), (out[-1] + 1) // 2
    if out[-1] % 2:
        x = F.pad(x, [0, stride])  # so that the last output has a neighbour, left out again below
    both = torch.cat([F.pad(weight, [0, stride]), F.pad(weight, [stride, 0])])
    found = F.conv3d(x, both, stride=(stride, stride, 2 * stride), padding=padding)
    # A pair's channels follow each other, so that one copy puts each voxel's channels together.
    found = found.movedim(1, -1).reshape(len(x), *out[:2], 2 * pairs, outputs)
    return found.movedim(-1, 1)[..., : out[-1]]


@lru_cache
def _taps(grid: tuple[int, ...], kernel: int, stride: int, padding: int) -> Tensor:
    """Return which element of the kernel leads from where to where: (kernel^axes, to * from)."""
    taps = torch.ones(1, 1, 1)
    # Kept for later calls, which may differentiate: not to be one of inference mode's tensors.
    with torch.inference_mode(False), torch.no_grad():
        for size in grid:
            to = torch.arange((size + 2 * padding - kernel) // stride + 1)
            reached = to * stride - padding + torch.arange(kernel)[:, None]
            one = (reached[..., None] == torch.arange(size)).float()
            taps = torch.einsum("kab,lcd->klacbd", taps, one).flatten(4).flatten(2, 3).flatten(0, 1)
    return taps.flatten(1)


def _count(grid: tuple[int, ...]) -> int:
    return grid[0] * grid[1] * grid[2]
