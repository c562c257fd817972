"""Build the head that maps a representation onto the unit sphere, where contrastive losses compare.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020,
https://arxiv.org/abs/2002.05709
"""

import torch
from torch import Tensor, nn

from fedcl.shapes import Embedding, Representation

SMALLEST_NORM = 1e-6
"""Norm below which a row shrinks towards zero, so that no row is divided by zero."""


class Projector(nn.Module):
    """Apply Linear-ReLU-Linear, then divide each row by its norm; PyTorch's initial weights.

    Args:
        width: Length of a representation, >= 1.
        hidden: Width of the hidden layer, >= 1.
        dim: Length of an embedding, >= 1.
    """

    def __init__(self, width: int, *, hidden: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, representation: Representation) -> Embedding:
        """Return rows of Euclidean norm 1, in float32 even under autocast."""
        return unit(self.layers(representation))


def unit(rows: Tensor) -> Tensor:
    """Return rows divided by their Euclidean norm; a zero row stays zero with a finite gradient.

    Half precision is converted to float32 first, since the norm of a row sums many small squares.
    """
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return rows * torch.rsqrt(rows.square().sum(dim=-1, keepdim=True) + SMALLEST_NORM**2)
