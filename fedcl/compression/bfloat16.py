"""Round float32 to bfloat16, its upper sixteen bits, to the nearest value and ties to even.

Kalamkar et al., "A study of bfloat16 for deep learning training", 2019,
https://arxiv.org/abs/1905.12322
"""

import numpy as np


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the upper halves of float32 values, uint16.

    Args:
        values: Finite float32 values; magnitudes above 3.39e38 round to infinity.
    """
    bits = values.view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(halves: np.ndarray) -> np.ndarray:
    """Return the float32 values whose upper halves are given as uint16."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
