"""Round values to int8: integer multiples, from -127 to 127, of one scale per block of values.

A scale is the largest magnitude of its block divided by 127, rounded up to 16 significant bits, so
that code times scale is exact in float32 and the same on every machine. Decoded values can be
encoded again without any loss.
"""

import numpy as np

BLOCK = 1024
"""Number of values that share a scale. Larger blocks take fewer bytes for the same mean squared
error, but round the values of a much smaller channel to zero (docs/measurements/compression.md)."""
MOST = 127
SMALLEST_SCALE = np.float32(2.0**-100)
"""Smallest scale, also that of a block of zeros, so that no product is a subnormal number."""
LARGEST_SCALE = np.float32(2.0**120)
"""Largest scale that is accepted, so that 127 times it is finite."""


def blocks_of(count: int) -> int:
    """Return the number of blocks, and thus of scales, of `count` values."""
    return -(-count // BLOCK)


def quantise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 codes, one per value, and float32 scales, one per block.

    Args:
        values: Flat array of finite float32 values, of magnitude up to 1e38.
    """
    rows = _in_blocks(values)
    largest = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0))
    scales = np.maximum(_rounded_up(largest / np.float32(MOST)), SMALLEST_SCALE)
    codes = np.rint(rows / scales[:, None]).astype(np.int8)
    return codes.reshape(-1)[: values.size], scales


def dequantise(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return the float32 values that the codes and scales represent."""
    rows = _in_blocks(codes) * scales[:, None]
    return rows.reshape(-1)[: codes.size]


def _in_blocks(flat: np.ndarray) -> np.ndarray:
    """Return the values in rows of BLOCK values, with zeros at the end of the last row."""
    missing = -flat.size % BLOCK
    return np.pad(flat, (0, missing)).reshape(-1, BLOCK) if missing else flat.reshape(-1, BLOCK)


def _rounded_up(scales: np.ndarray) -> np.ndarray:
    """Return the scales rounded up to 16 significant bits."""
    bits = scales.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0xFF)) & np.uint32(0xFFFFFF00)).view(np.float32)
