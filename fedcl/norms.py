"""L2 norms of arrays that may be large, summed in float64 and in little memory."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from fedcl.tensors import as_tensor

_PIECE = 2**17
"""Values at a time: in float64 they stay in a core's cache."""


def norm_of(arrays: Iterable[np.ndarray]) -> float:
    """Return the L2 norm of arrays together, of which one is in memory at a time."""
    return math.sqrt(math.fsum(s for array in arrays for s in squares(array)))


def squares(array: np.ndarray, centre: np.ndarray | None = None) -> Iterator[float]:
    """Yield the sums of squares of pieces of `array`, or of its difference from `centre`.

    A difference is rounded to the arrays' own type, by 6e-8 of it in float32, unless that cannot
    hold it. The exact sum of what is yielded (`math.fsum`) is the same in whatever order tensors
    come: a checkpoint keeps another one.
    """
    if centre is None:
        norms = (_norm(piece) for piece in _pieces(array))
    else:
        norms = (_norm_apart(*both) for both in zip(_pieces(array), _pieces(centre), strict=True))
    for norm in norms:
        yield norm * norm


def _norm_apart(piece: torch.Tensor, centre: torch.Tensor) -> float:
    norm = _norm(piece - centre)
    return norm if norm < math.inf else _norm(piece.double() - centre)


def _norm(piece: torch.Tensor) -> float:
    return torch.linalg.vector_norm(piece, dtype=torch.float64).item()


def _pieces(array: np.ndarray) -> tuple[torch.Tensor, ...]:
    return torch.split(as_tensor(array.reshape(-1)), _PIECE)
