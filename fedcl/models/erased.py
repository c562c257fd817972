"""An encoder whose representations have the site taken out."""

import numpy as np
import torch
from torch import Tensor, nn

from fedcl.models.encoder import Encoder
from fedcl.shapes import Inputs, Representation


class ErasedEncoder(nn.Module):
    """Compute representations x of an encoder and return M x + c.

    Args:
        encoder: Encoder whose representations the map was fitted on.
        matrix: The matrix M, shape (width, width), float64.
        offset: The vector c, shape (width,), float64.
    """

    matrix: Tensor
    offset: Tensor

    def __init__(self, encoder: Encoder, matrix: np.ndarray, offset: np.ndarray) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.width
        self.register_buffer("matrix", torch.from_numpy(matrix.astype(np.float64)))
        self.register_buffer("offset", torch.from_numpy(offset.astype(np.float64)))

    def forward(self, inputs: Inputs) -> Representation:
        """Return the representations of a batch without the site, float32.

        The arithmetic is float64: the map subtracts what sites differ by, which may be much larger
        than what is left.
        """
        representation = self.encoder(inputs).double()
        erased = representation @ self.matrix.T.double() + self.offset.double()
        return erased.float()
