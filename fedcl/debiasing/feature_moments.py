"""Mean and standard deviation of every feature agree between the sites, as FedHarmony shares them.

Dinsdale et al., "FedHarmony: unlearning scanner bias with distributed data", MICCAI 2022,
https://arxiv.org/abs/2205.15970, has sites exchange the mean and the standard deviation of their
features. Unlike the paper, which trains adversarially against samples of those Gaussians, the
moments themselves are matched.
"""

import torch

from fedcl.losses.terms import AnchorLoss
from fedcl.shapes import PairWeights, PerParticipant, Representation

_VARIANCE_FLOOR = 1e-8


def feature_moments(vectors: Representation, bias: PerParticipant) -> dict[str, AnchorLoss]:
    """Return, per participant, the gap between its own bias group and everybody else.

    mean and spread: squared difference of the group's and the others' feature means (standard
    deviations), averaged over features. The mean over participants weights groups by their size.
    Not counted: a participant of unknown bias, and a group or rest of fewer than two.

    Args:
        vectors: One per participant and view.
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


def _moments(vectors: Representation, group: PairWeights) -> tuple[Representation, Representation]:
    """Mean and population SD of each feature over the rows that `group` gives each row."""
    with torch.autocast(vectors.device.type, enabled=False):
        share = group / group.sum(dim=1, keepdim=True).clamp(min=1)
        centred = vectors - vectors.mean(dim=0)  # so that the subtraction below loses nothing
        mean = share @ centred
        variance = share @ centred.square() - mean.square()
    return mean, variance.clamp(min=_VARIANCE_FLOOR).sqrt()
