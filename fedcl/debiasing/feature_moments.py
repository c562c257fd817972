"""Mean and standard deviation of every feature agree between the sites, as FedHarmony shares them.

Dinsdale et al., "FedHarmony: unlearning scanner bias with distributed data", MICCAI 2022,
https://arxiv.org/abs/2205.15970, has sites exchange the mean and the standard deviation of their
features. Unlike the paper, which trains adversarially against samples of those Gaussians, the
moments themselves are matched.
"""

import torch

from fedcl.debiasing.module import DebiasingTerm
from fedcl.losses.nodes import Nodes
from fedcl.losses.terms import AnchorLoss, BatchTerm
from fedcl.shapes import PairWeights, PerParticipant, Representation

_VARIANCE_FLOOR = 1e-8


def feature_moments(vectors: Representation, bias: PerParticipant) -> dict[str, AnchorLoss]:
    """Return, per participant, the gap between its own bias group and everybody else.

    mean and spread: squared difference of the group's and the others' feature means (standard
    deviations), averaged over features. The mean over participants weights groups by their size.
    Not counted: a participant of unknown bias, and a group or rest of fewer than two.

    Args:
        vectors: A row for each view of each participant.
        bias: A code for each row of `vectors`; NaN where it is not known.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    known = ~bias.isnan()
    same = bias[:, None] == bias[None, :]
    other = ~same & known[:, None] & known[None, :]
    own_mean, own_spread = _moments(vectors, same.to(vectors.dtype))
    rest_mean, rest_spread = _moments(vectors, other.to(vectors.dtype))
    counted = (same.sum(dim=1) >= 2) & (other.sum(dim=1) >= 2)
    gaps = {"mean": own_mean - rest_mean, "spread": own_spread - rest_spread}
    return {
        name: AnchorLoss(torch.where(counted, gap.square().mean(dim=1), 0.0), counted)
        for name, gap in gaps.items()
    }


def feature_moments_of_others(vectors: Representation, others: Nodes) -> dict[str, BatchTerm]:
    """Return the gap between a batch of one site and the participants of the other sites.

    Not counted: fewer than two of either. The others' moments are those of the last exchange.

    Args:
        vectors: A row for each view of each participant, all of one site.
        others: Everybody else; their moments add up to those over all nodes.
    """
    counted = torch.tensor(float(len(vectors) >= 2 and float(others.count.sum()) >= 2))
    counted = counted.to(vectors.device)
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    everybody = vectors.new_ones(1, len(vectors))
    mean, spread = _moments(vectors, everybody)
    share = (others.count / others.count.sum().clamp(min=1)).to(vectors.dtype)[:, None]
    node_means = others.mean.to(vectors.dtype)
    rest_mean = (share * node_means).sum(dim=0)
    within = others.covariance.diagonal(dim1=1, dim2=2).to(vectors.dtype)
    rest_variance = (share * (within + (node_means - rest_mean).square())).sum(dim=0)
    rest_spread = rest_variance.clamp(min=_VARIANCE_FLOOR).sqrt()
    gaps = {
        "mean": mean[0] - rest_mean,
        "spread": spread[0] - rest_spread,
    }
    return {
        name: BatchTerm(torch.where(counted > 0, gap.square().mean(), 0.0), counted)
        for name, gap in gaps.items()
    }


def _moments(vectors: Representation, group: PairWeights) -> tuple[Representation, Representation]:
    """Return mean and population SD of each feature over the rows that `group` gives each row."""
    with torch.autocast(vectors.device.type, enabled=False):
        share = group / group.sum(dim=1, keepdim=True).clamp(min=1)
        everybody = vectors.mean(dim=0)
        centred = vectors - everybody  # so that the subtraction below loses nothing
        mean = share @ centred
        variance = share @ centred.square() - mean.square()
    return mean + everybody, variance.clamp(min=_VARIANCE_FLOOR).sqrt()


class FeatureMoments(DebiasingTerm):
    """Mean and standard deviation of every feature agree between biases; no labels.

    Example:
        >>> import torch
        >>> from fedcl.debiasing import FeatureMoments
        >>> vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> site = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> FeatureMoments()(vectors, None, site)
        tensor(0.4202)
    """

    name = "feature_moments"

    def __init__(self) -> None:
        super().__init__(None)
