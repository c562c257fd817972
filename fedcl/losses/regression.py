"""Supervised regression of the age, the baseline of a contrastive representation.

The l1 baseline of Barbano et al., ISBI 2023, https://arxiv.org/abs/2211.08326, and its square.
"""

import torch

from fedcl.losses.terms import AnchorLoss
from fedcl.shapes import PerAnchor


def l1(predicted: PerAnchor, ages: PerAnchor) -> AnchorLoss:
    """Return |y - prediction| in years, one per view."""
    return AnchorLoss((predicted - ages).abs(), torch.ones_like(ages, dtype=torch.bool))


def l2(predicted: PerAnchor, ages: PerAnchor) -> AnchorLoss:
    """Return (y - prediction)^2 in years^2, one per view."""
    return AnchorLoss((predicted - ages).square(), torch.ones_like(ages, dtype=torch.bool))
