"""Say how a gradient travels: parameters one after another, in arrays neither many nor long.

An array for each parameter costs a small network more than its bytes, and the memory of one long
array is asked of the system anew for each message.
"""

import math
from collections.abc import Mapping

Piece = tuple[str, ...]
"""Names of the parameters that stand one after another in one array."""

LONGEST = 2**22
"""Largest number of values of an array, unless one parameter alone has more."""


def pieces_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Piece]:
    """Return the parameters in each array of a gradient, by the array's name, in order.

    Args:
        shapes: Shape of each parameter by its name, in any order.
    """
    pieces: list[list[str]] = []
    room = 0
    for name in sorted(shapes):
        size = math.prod(shapes[name])
        if not pieces or size > room:
            pieces.append([])
            room = LONGEST
        pieces[-1].append(name)
        room -= size
    return {str(number): tuple(piece) for number, piece in enumerate(pieces)}
