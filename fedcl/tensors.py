"""NumPy arrays as tensors over the same memory."""

import warnings

import numpy as np
import torch
from torch import Tensor


def as_tensor(array: np.ndarray) -> Tensor:
    """View an array as a tensor without copying, to read from it only."""
    with warnings.catch_warnings():
        # Received arrays are read-only views of a message, which torch warns about.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
