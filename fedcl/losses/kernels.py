"""Kernels turn two ages into a degree of positiveness in [0, 1], 1 at equal age.

Dufumier et al., "Contrastive learning with continuous proxy meta-data for 3D MRI classification",
MICCAI 2021, https://arxiv.org/abs/2106.08808 (gaussian); Barbano et al., "Contrastive learning for
regression in multi-site brain age prediction", ISBI 2023, https://arxiv.org/abs/2211.08326.
"""

import torch

from fedcl.config.objective import Kernel
from fedcl.shapes import Ages, PairWeights


def positiveness(anchors: Ages, candidates: Ages, kernel: Kernel) -> PairWeights:
    """Return w = K(y - y') for every pair of ages in years."""
    distance = anchors[:, None] - candidates[None, :]
    if kernel.bandwidth_years is None:
        return (distance == 0).to(distance.dtype)
    squared = (distance / kernel.bandwidth_years) ** 2
    if kernel.kind == "cauchy":
        return 1 / (1 + squared)
    return torch.exp(-squared / 2)
