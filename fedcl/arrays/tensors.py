"""View NumPy arrays as tensors over the same memory, and name their types."""

import warnings
from functools import cache

import numpy as np
import torch
from torch import Tensor


def as_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor over the memory of an array, which must only be read."""
    return torch.from_numpy(array)


# Received arrays are read-only views of a message. Torch warns of the first one in each process
# only, so that this conversion uses up the warning.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    as_tensor(np.frombuffer(bytes(1), np.uint8))


@cache
def type_name(dtype: np.dtype) -> str:
    """Return the name of a type, such as "float32"; NumPy would compose it anew at every call."""
    return dtype.name


State = dict[str, np.ndarray]
"""Named float32 tensors of a network."""
