"""L2 norms of arrays that may be large: at the speed of reading them, and in little memory."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

_PIECE = 2**17
"""Values at a time: they stay in a core's cache."""
_ROW = 256
"""Values whose squares are summed in float32; sums of rows are float64's."""
_FEW = 4096
"""Values that are squared in float64 sooner than they are cut into rows."""
_LEAST = 1e-24
"""Of a piece's sum of squares: below, a square that float32 cannot hold could be felt."""


def norm_of(arrays: Iterable[np.ndarray]) -> float:
    """Return the L2 norm of arrays together, of which one is in memory at a time.

    Of float32 arrays it is right to 1e-6 of itself, and to 1e-8 unless their values are all alike.
    """
    return math.sqrt(math.fsum(s for array in arrays for s in squares(array)))


def squares(array: np.ndarray, centre: np.ndarray | None = None) -> Iterator[float]:
    """Yield the sums of squares of pieces of `array`, or of its difference from `centre`.

    No square of a float32 overflows or vanishes. A difference is rounded to float32 where the
    arrays are long and can hold it, and is float64's otherwise. The exact sum of what is yielded
    (`math.fsum`) is the same in whatever order tensors come: a checkpoint keeps another one.

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
            if _LEAST < quick < math.inf:  # else float32 cannot tell
                yield quick
                continue
        wide = piece.astype(np.float64)
        if other is not None:
            with np.errstate(invalid="ignore"):
                wide -= other
        yield _summed(wide)


def _summed(values: np.ndarray) -> float:
    """The sum of squares, in the values' own type along rows, of which few values make one."""
    if len(values) <= _FEW:
        return float(values.dot(values))
    whole = len(values) // _ROW * _ROW
    rows = values[:whole].reshape(-1, _ROW)
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + _summed(values[whole:])
