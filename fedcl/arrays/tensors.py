"""NumPy arrays as tensors over the same memory, and their types by name."""

import warnings
from functools import cache

import numpy as np
import torch
from torch import Tensor


def as_tensor(array: np.ndarray) -> Tensor:
    """View an array as a tensor without copying, to read from it only."""
    return torch.from_numpy(array)


# Received arrays are read-only views of a message, of which torch warns once in each process: here.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    as_tensor(np.frombuffer(bytes(1), np.uint8))


@cache
def type_name(dtype: np.dtype) -> str:
    """Return the name of a type, as in "float32", which NumPy puts together anew each time."""
    return dtype.name


State = dict[str, np.ndarray]
"""Named float32 tensors of a network."""
