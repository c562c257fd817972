"""L2 norms of arrays that may be large, on one core and in little memory."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from fedcl.tensors import as_tensor

_PIECE = 2**16
"""Values at a time: they stay in a core's cache."""
_LEAST = 1e-30
"""A sum of squares above it lost nothing to float32, whose squares vanish below 1e-38."""


def norm_of(arrays: Iterable[np.ndarray]) -> float:
    """Return the L2 norm of arrays together, of which one is in memory at a time."""
    return math.sqrt(math.fsum(s for array in arrays for s in squares(array)))


def squares(array: np.ndarray, centre: np.ndarray | None = None) -> Iterator[float]:
    """Yield the sums of squares of pieces of `array`, or of its difference from `centre`.

    A piece is summed in its own type, of float32 right to about 1e-7, and in float64 where that
    overflows or vanishes. The exact sum of what is yielded (`math.fsum`) is the same in whatever
    order tensors come: a checkpoint keeps another one.
    """
    pieces = _pieces(array)
    if centre is None:
        for piece in pieces:
            quick = _squared(piece)
            yield quick if _LEAST < quick < math.inf else _squared(piece.double())
    else:
        for piece, other in zip(pieces, _pieces(centre), strict=True):
            quick = _squared(piece - other)
            yield quick if _LEAST < quick < math.inf else _squared(piece.double() - other)


def _pieces(array: np.ndarray) -> tuple[torch.Tensor, ...]:
    return torch.split(as_tensor(array.reshape(-1)), _PIECE)


def _squared(piece: torch.Tensor) -> float:
    return torch.dot(piece, piece).item()
