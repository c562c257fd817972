"""Compute L2 norms of large arrays, as fast as they can be read and in little memory."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

_PIECE = 2**17
"""Number of values that are summed at a time, which fit into a core's cache."""
_ROW = 256
"""Number of values whose squares are summed in float32; the sums of rows are added in float64."""
_FEW = 4096
"""Number of values up to which squaring in float64 is faster than cutting into rows."""
_LEAST = 1e-24
"""Sum of squares below which a float32 square that underflows could matter, so float64 is used."""


def norm_of(arrays: Iterable[np.ndarray]) -> float:
    """Return the joint L2 norm of several arrays, of which one is in memory at a time.

    For float32 arrays the relative error is below 1e-6, and below 1e-8 unless all values are alike.
    """
    return math.sqrt(math.fsum(s for array in arrays for s in squares(array)))


def squares(array: np.ndarray, centre: np.ndarray | None = None) -> Iterator[float]:
    """Yield the sums of squares of pieces of `array`, or of its difference from `centre`.

    No square of a float32 value overflows or underflows. Differences of long arrays are computed in
    float32 where it can represent them, and in float64 otherwise. The exact sum of the results
    (`math.fsum`) does not depend on the order of the tensors, which differs in a checkpoint.

    Raises:
        ValueError: the two have different shapes; nothing is broadcast.
    """
    if centre is not None and centre.shape != array.shape:
        raise ValueError(f"an array of shape {array.shape}, its centre of shape {centre.shape}")
    values, others = array.reshape(-1), None if centre is None else centre.reshape(-1)
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE]
        other = None if others is None else others[start : start + _PIECE]
        if len(piece) > _FEW:
            with np.errstate(over="ignore", invalid="ignore"):
                quick = _summed(piece if other is None else piece - other)
            if _LEAST < quick < math.inf:  # otherwise float32 is not precise enough
                yield quick
                continue
        wide = piece.astype(np.float64)
        if other is not None:
            with np.errstate(invalid="ignore"):
                wide -= other
        yield _summed(wide)


def _summed(values: np.ndarray) -> float:
    """Return the sum of squares, added in the values' type within rows and in float64 over rows."""
    if len(values) <= _FEW:
        return float(values.dot(values))
    whole = len(values) // _ROW * _ROW
    rows = values[:whole].reshape(-1, _ROW)
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + _summed(values[whole:])
