"""What is minimised at a site: named terms, one value per anchor, reduced here."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedcl.config.objective import Objective
from fedcl.losses.info_nce import info_nce
from fedcl.losses.kernels import positiveness
from fedcl.losses.l_exp import l_exp
from fedcl.losses.pairs import pairs_of_views
from fedcl.losses.yaware import y_aware
from fedcl.models.network import Network
from fedcl.shapes import Ages, Inputs, PerAnchor


@dataclass(frozen=True)
class Loss:
    """The value to differentiate, and the sums that the round's log adds up.

    Attributes:
        value: Mean over the anchors that have a positive; a scalar with a gradient.
        total: Sum over those anchors, a float.
        anchors: How many they are.
        skipped: Anchors without any positive.
    """

    value: Tensor
    total: Tensor
    anchors: Tensor
    skipped: Tensor


def objective(network: Network, views: tuple[Inputs, Inputs], ages: Ages, task: Objective) -> Loss:
    """Encode the views of a batch and return its loss.

    Args:
        network: Encoder with its projector (or its age head for l1).
        views: Two views of each participant; the same object twice is encoded once.
        ages: In years.
        task: Which loss, at which temperature, with which kernel.
    """
    first, second = views
    if task.loss == "l1":
        inputs = first if second is first else torch.cat([first, second])
        predicted = network(inputs)[1].float().squeeze(1)
        target = ages.to(predicted.dtype).repeat(len(inputs) // max(len(first), 1))
        return _reduce((predicted - target).abs(), torch.ones_like(predicted))

    if second is first:
        embedding = network(first)[1]
        pair = torch.stack([embedding, embedding], dim=1)
    else:
        embedding = network(torch.cat([first, second]))[1]
        pair = torch.stack(embedding.chunk(2), dim=1)
    with torch.autocast(pair.device.type, enabled=False):
        weights = positiveness(ages, ages, task.kernel)
        pairs = pairs_of_views(pair, weights, temperature=task.temperature)
        match task.loss:
            case "l_exp":
                per_anchor = l_exp(pairs)
            case "y_aware":
                per_anchor = y_aware(pairs)
            case "info_nce":
                same = torch.eye(len(ages), dtype=pair.dtype, device=pair.device)
                same = same.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
                per_anchor = info_nce(pairs, same)
        return _reduce(per_anchor, pairs.has_positive())


def _reduce(per_anchor: PerAnchor, counted: PerAnchor) -> Loss:
    total = (per_anchor * counted).sum()
    anchors = counted.sum()
    return Loss(
        value=total / anchors.clamp(min=1),
        total=total.detach(),
        anchors=anchors,
        skipped=len(counted) - anchors,
    )
