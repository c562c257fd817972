"""NumPy arrays as tensors over the same memory."""

import warnings

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
