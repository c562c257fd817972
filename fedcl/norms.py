"""L2 norms of arrays that may be large, in float64 and in little memory."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from fedcl.tensors import as_tensor

_PIECE = 2**17
"""Values at a time: they stay in a core's cache."""


def norm_of(arrays: Iterable[np.ndarray]) -> float:
    """Return the L2 norm of arrays together, of which one is in memory at a time."""
    return math.sqrt(math.fsum(s for array in arrays for s in squares(array)))


def squares(array: np.ndarray, centre: np.ndarray | None = None) -> Iterator[float]:
    """Yield the sums of squares of pieces of `array`, or of its difference from `centre`.

    Sums are float64's, where no square of a float32 overflows or vanishes; a difference is the
    arrays' own, unless they cannot hold it. The exact sum of what is yielded (`math.fsum`) is the
    same in whatever order tensors come: a checkpoint keeps another one.
    """
    if centre is None:
        yield from map(_squared, _pieces(array))
        return
    for piece, other in zip(_pieces(array), _pieces(centre), strict=True):
        quick = _squared(piece - other)
        yield quick if quick < math.inf else _squared(piece.double() - other)


def _pieces(array: np.ndarray) -> tuple[torch.Tensor, ...]:
    values = as_tensor(array.reshape(-1))
    return (values,) if len(values) <= _PIECE else torch.split(values, _PIECE)


def _squared(piece: torch.Tensor) -> float:
    norm = torch.linalg.vector_norm(piece, dtype=torch.float64).item()
    return norm * norm
