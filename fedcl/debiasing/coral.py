"""CORAL: covariances of the features agree between the sites.

Sun and Saenko, "Deep CORAL: correlation alignment for deep domain adaptation", ECCV 2016,
https://arxiv.org/abs/1607.01719
"""

import torch

from fedcl.debiasing.module import DebiasingTerm
from fedcl.losses.terms import BatchTerm
from fedcl.shapes import PerParticipant, Representation


def coral(vectors: Representation, bias: PerParticipant) -> dict[str, BatchTerm]:
    """Return the term `covariance`: ||C_b - C_rest||_F^2 / (4 d^2), a mean over bias groups b.

    Groups weigh as much as they have rows. C are covariances (divisor n - 1) of d features. Groups
    or rests of fewer than two, and unknown biases, are left out; without any group the term is not
    counted.

    Args:
        vectors: A row for each view of each participant.
        bias: A code for each row of `vectors`; NaN where it is not known.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    value, total = vectors.sum() * 0, 0
    for code in torch.unique(bias[~bias.isnan()]):
        own, rest = vectors[bias == code], vectors[(bias != code) & ~bias.isnan()]
        if min(len(own), len(rest)) < 2:
            continue
        gap = _covariance(own) - _covariance(rest)
        value = value + len(own) * gap.square().sum() / (4 * vectors.shape[1] ** 2)
        total += len(own)
    counted = torch.tensor(float(total > 0), device=value.device)
    return {"covariance": BatchTerm(value / max(total, 1), counted)}


def _covariance(vectors: Representation) -> torch.Tensor:
    centred = vectors - vectors.mean(dim=0)
    with torch.autocast(vectors.device.type, enabled=False):
        return centred.T @ centred / (len(vectors) - 1)


class Coral(DebiasingTerm):
    """Covariances of the features agree between biases; no labels.

    Example:
        >>> import torch
        >>> from fedcl.debiasing import Coral
        >>> vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> site = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> Coral()(vectors, None, site)
        tensor(0.0841)
    """

    name = "coral"

    def __init__(self) -> None:
        super().__init__(None)
