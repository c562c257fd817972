"""Kernels turn the covariates of two participants into a degree of positiveness in [0, 1].

Dufumier et al., "Contrastive learning with continuous proxy meta-data for 3D MRI classification",
MICCAI 2021, https://arxiv.org/abs/2106.08808 (gaussian); Barbano et al., "Contrastive learning for
regression in multi-site brain age prediction", ISBI 2023, https://arxiv.org/abs/2211.08326.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from fedcl.config.kernels import (
    AnatomicalKernel,
    CauchyKernel,
    DiscreteKernel,
    GaussianKernel,
    Kernel,
    MeanKernel,
    PrecomputedKernel,
    ProductKernel,
    RepresentationKernel,
)
from fedcl.kernels.anatomical import anatomical
from fedcl.shapes import PairWeights, Values

Known = Mapping[str, Values]
"""Covariates of participants by name: "age" in years, "sex", a column, a table."""


def positiveness(anchors: Known, candidates: Known, kernel: Kernel) -> PairWeights:
    """Return w = K(anchor, candidate) for every pair.

    A value that is not known (NaN) matches nobody: w = 0, also with itself.

    Args:
        anchors: Covariates of the rows' participants.
        candidates: Covariates of the columns' participants, under the same names.
        kernel: Which covariates it compares, and how.
    """
    match kernel:
        case GaussianKernel():
            weights = torch.exp(-_squared_distance(anchors, candidates, kernel) / 2)
        case CauchyKernel():
            weights = 1 / (1 + _squared_distance(anchors, candidates, kernel))
        case DiscreteKernel():
            weights = torch.stack(
                [
                    (anchors[name][:, None] == candidates[name][None, :]).float()
                    for name in kernel.covariates
                ]
            ).prod(dim=0)
        case AnatomicalKernel():
            weights = anatomical(anchors[kernel.table], candidates[kernel.table], kernel.mode)
        case RepresentationKernel():
            weights = _of_representations(anchors[kernel.table], candidates[kernel.table], kernel)
        case PrecomputedKernel():
            weights = anchors[kernel.table]
            if weights.shape != (len(weights), len(candidates[kernel.table])):
                raise ValueError(f"{kernel.table}: a precomputed kernel knows its own pairs only")
        case ProductKernel() | MeanKernel():
            parts = torch.stack([positiveness(anchors, candidates, k) for k in kernel.kernels])
            weights = parts.prod(dim=0) if kernel.kind == "product" else parts.mean(dim=0)
    return weights.nan_to_num(nan=0.0)


def within_batch(known: Known, kernel: Kernel) -> PairWeights:
    """Return w between the participants of a batch, 1 for everybody with themselves."""
    weights = positiveness(known, known, kernel)
    itself = torch.eye(len(weights), dtype=torch.bool, device=weights.device)
    return weights.masked_fill(itself, 1.0)


def _squared_distance(
    anchors: Known, candidates: Known, kernel: GaussianKernel | CauchyKernel
) -> PairWeights:
    """Return the sum over covariates of (difference / bandwidth)^2."""
    total = torch.zeros(())
    for name, bandwidth in zip(kernel.covariates, kernel.bandwidths, strict=True):
        difference = anchors[name][:, None] - candidates[name][None, :]
        total = total.to(difference.device) + (difference / bandwidth) ** 2
    return total


def _of_representations(
    anchors: Values, candidates: Values, kernel: RepresentationKernel
) -> PairWeights:
    with torch.autocast(anchors.device.type, enabled=False):
        if kernel.bandwidth is not None:
            squared = torch.cdist(anchors, candidates) ** 2
            return torch.exp(-squared / (2 * kernel.bandwidth**2))
        cosine = F.normalize(anchors, dim=1) @ F.normalize(candidates, dim=1).T
        return cosine.clamp(0.0, 1.0)
