"""int8: whole multiples of a step, from -127 to 127, one step for each block of values.

A scale is the largest magnitude of its block over 127, rounded up to 16 significant bits: code
times scale is then exact in float32, the same on every machine, and what was decoded once is coded
again without any loss.
"""

import numpy as np

BLOCK = 1024
"""Values that share a scale. Larger blocks take fewer bytes for the same mean squared error, and
lose the values of a channel that is much smaller than its neighbours: see
docs/measurements/compression.md."""
MOST = 127
SMALLEST_SCALE = np.float32(2.0**-100)
"""Of a block of zeros too; keeps the products clear of subnormal numbers."""
LARGEST_SCALE = np.float32(2.0**120)
"""127 of it are finite."""


def blocks_of(count: int) -> int:
    """Return how many scales so many values have."""
    return -(-count // BLOCK)


def quantise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (codes, scales): int8 of the values' length, and one float32 for each block.

    Args:
        values: Flat float32, finite, magnitudes up to 1e38.
    """
    rows = _in_blocks(values)
    largest = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0))
    scales = np.maximum(_rounded_up(largest / np.float32(MOST)), SMALLEST_SCALE)
    codes = np.rint(rows / scales[:, None]).astype(np.int8)
    return codes.reshape(-1)[: values.size], scales


def dequantise(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return the float32 values that codes stand for."""
    rows = _in_blocks(codes) * scales[:, None]
    return rows.reshape(-1)[: codes.size]


def _in_blocks(flat: np.ndarray) -> np.ndarray:
    """Return rows of BLOCK values, the last filled up with zeros."""
    missing = -flat.size % BLOCK
    return np.pad(flat, (0, missing)).reshape(-1, BLOCK) if missing else flat.reshape(-1, BLOCK)


def _rounded_up(scales: np.ndarray) -> np.ndarray:
    """Return the next numbers, not below, of 16 significant bits."""
    bits = scales.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0xFF)) & np.uint32(0xFFFFFF00)).view(np.float32)
