"""A message between a site and the server as it travels, whatever carries it."""

from dataclasses import dataclass

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.errors import WireError
from fedcl.messages.headers import Header

ARRAYS = "arrays"
"""Group of the arrays that a message is about: weights, sums, masked words."""

MOMENTS_GROUP = "moments"
"""Group of a site's or all sites' moments."""

RELEASED = "released"
"""Group of moments with noise that the server passes on."""

IN_STEP = "in_step"
"""Group of the moments of all sites in one step."""

SLOPES = "slopes"
"""Group of the derivatives by the moments of a step."""

PROBES = "probes"
"""Group of the probes of an evaluation."""


ERASURE = "erasure"
"""Group of the projections that erase the site from features."""


@dataclass(frozen=True)
class Packet:
    """A header and named arrays in named groups.

    The order of names is part of the message: Flower names an object by the hash of its bytes.

    Attributes:
        header: Values of plain types by name.
        groups: Arrays by name, in groups by name.
    """

    header: Header
    groups: dict[str, State]

    def arrays(self, group: str) -> State:
        """Return the arrays of a group.

        Raises:
            WireError: the packet has no such group.
        """
        try:
            return self.groups[group]
        except KeyError:
            raise WireError(f"the message carries no {group}") from None


def float64_array(arrays: State, name: str, dims: int) -> np.ndarray:
    """Return one of some arrays.

    Raises:
        WireError: it is missing, not float64, or of another number of dimensions.
    """
    array = arrays.get(name)
    if array is None or array.ndim != dims or array.dtype != np.float64:
        raise WireError(f"{name}: expected float64 of {dims} dimensions")
    return array
