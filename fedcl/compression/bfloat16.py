"""bfloat16: float32 without its last sixteen bits, rounded to nearest, ties to even.

Kalamkar et al., "A study of bfloat16 for deep learning training", 2019,
https://arxiv.org/abs/1905.12322
"""

import numpy as np


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the upper halves of float32 values, uint16.

    Args:
        values: Finite float32. Beyond 3.39e38 they round to infinity.
    """
    bits = values.view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(halves: np.ndarray) -> np.ndarray:
    """Return the float32 values that uint16 halves stand for."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
