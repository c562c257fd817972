"""The objective of a batch: named terms, reduced here to one value."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedcl.config.objective import Objective
from fedcl.kernels.positiveness import Known
from fedcl.losses.spread import spread
from fedcl.losses.terms import AnchorLoss, BatchTerm, mean_over_counted
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.frozen import FrozenMoments
from fedcl.shapes import Inputs, PerParticipant
from fedcl.terms import (
    EncodedViews,
    debias_alone,
    debias_values,
    encode_views,
    term_values,
)


@dataclass(frozen=True)
class Loss:
    """The value to differentiate, and the sums that the round's log adds up.

    Attributes:
        value: Weighted sum of the terms' means; a scalar with a gradient.
        terms: For each term (and "loss", the value, and "spread", how far embeddings lie apart,
            both once per participant) the sum, how many anchors (or batches, for a statistic of
            the batch) it holds, and how many it skipped; shape (3,), float64, without a gradient.
    """

    value: Tensor
    terms: dict[str, Tensor]


def objective(
    network: Network,
    views: tuple[Inputs, Inputs],
    known: Known,
    task: Objective,
    cross_site: CrossSite | None = None,
    *,
    round_number: int = 1,
) -> Loss:
    """Encode the views of a batch and return its loss.

    Args:
        network: Encoder with the heads that the terms need.
        views: Two views of each participant; the same object twice is encoded once.
        known: Covariates of the participants, at least `task.names`; age in years.
        task: Which terms, with which weights and parameters.
        cross_site: What the batch sees of other sites; None where it holds them itself.
        round_number: Counts from 1; debiasing terms may grow with it.
    """
    encoded = encode_views(network, views)
    return objective_of(encoded, known, task, cross_site, round_number=round_number)


def objective_of(
    encoded: EncodedViews,
    known: Known,
    task: Objective,
    cross_site: CrossSite | None = None,
    *,
    round_number: int = 1,
) -> Loss:
    """Return the loss of a batch whose views are encoded, as `objective` does."""
    participants = len(encoded.representation)
    found: list[tuple[float, str, AnchorLoss | BatchTerm]] = []
    with torch.autocast(encoded.representation.device.type, enabled=False):
        for weight, term in task.terms:
            values = term_values(encoded, known, term, cross_site, task.prototypes)
            found += [(weight, name, one) for name, one in values.items()]
        for debias in task.debias:
            found += [
                (debias.weight_in(round_number), f"{debias.name}.{name}", one)
                for name, one in debias_values(encoded, known, debias, task, cross_site).items()
            ]
        total = encoded.representation.sum() * 0.0
        sums: dict[str, Tensor] = {}
        for weight, name, one in found:
            value, counted, skipped = mean_over_counted(one)
            total = total + weight * value
            held = torch.stack([value.detach() * counted, counted, skipped]).double()
            sums[_unused(name, sums)] = held
    size = torch.tensor(float(participants), dtype=torch.float64, device=total.device)
    nobody = torch.zeros_like(size)
    told = {"loss": torch.stack([total.detach().double() * size, size, nobody])}
    if encoded.embedding is not None:
        several = size * (participants > 1)
        told["spread"] = torch.stack([spread(encoded.embedding) * several, several, nobody])
    return Loss(total, {**told, **sums})


def participant_losses(
    network: Network,
    views: tuple[Inputs, Inputs],
    known: Known,
    task: Objective,
    frozen: FrozenMoments | None = None,
    *,
    round_number: int = 1,
) -> PerParticipant:
    """Return one loss per participant: each term's mean over that participant's counted views.

    Args:
        network: Encoder with the heads that the terms need, without batch normalisation.
        views: Two views of each participant; the same object twice is encoded once.
        known: Covariates of the participants, at least `task.names`; age in years.
        task: An objective whose loss is a sum over participants.
        frozen: Released moments, where it compares with them.
        round_number: Counts from 1; debiasing terms may grow with it.
    """
    assert task.decomposes
    assert (frozen is None) == (task.private_moments is None)
    encoded = encode_views(network, views)
    participants = len(encoded.representation)
    total = encoded.representation.flatten(1).sum(dim=1) * 0.0
    with torch.autocast(total.device.type, enabled=False):
        found = [
            (weight, one)
            for weight, term in task.terms
            for one in term_values(encoded, known, term, None, task.prototypes, frozen).values()
        ]
        for debias in task.debias:
            assert frozen is not None
            values = debias_alone(encoded, known, debias, task, frozen)
            found += [(debias.weight_in(round_number), one) for one in values.values()]
        for weight, one in found:
            assert isinstance(one, AnchorLoss)
            counted = one.counted.view(participants, -1).sum(dim=1).clamp(min=1)
            total = total + weight * one.value.view(participants, -1).sum(dim=1) / counted
    return total


def _unused(name: str, taken: dict[str, Tensor]) -> str:
    """Return the name, numbered where an earlier term has it."""
    number = sum(one.partition("#")[0] == name for one in taken)
    return f"{name}#{number + 1}" if number else name
