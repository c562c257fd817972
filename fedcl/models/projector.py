"""The head that maps a representation onto the unit sphere, where the contrastive losses compare.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020,
https://arxiv.org/abs/2002.05709
"""

import torch
from torch import Tensor, nn

from fedcl.shapes import Embedding, Representation

SMALLEST_NORM = 1e-6
"""Rows of about this length or less shrink towards zero instead of being divided by nothing."""


class Projector(nn.Module):
    """Linear-ReLU-Linear, then rows of length 1; PyTorch's initial weights, as published.

    Args:
        width: Length of a representation, >= 1.
        hidden: Width of the layer between, >= 1.
        dim: Length of an embedding, >= 1.
    """

    def __init__(self, width: int, *, hidden: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, representation: Representation) -> Embedding:
        """Return unit rows, in float32 even under a lower precision."""
        return unit(self.layers(representation))


def unit(rows: Tensor) -> Tensor:
    """Return rows divided by their Euclidean norm; a zero row stays zero with a finite gradient.

    Half precision is raised to float32 first: the norm of a row sums many small squares.
    """
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return rows * torch.rsqrt(rows.square().sum(dim=-1, keepdim=True) + SMALLEST_NORM**2)
