"""Participants against fixed points along age: a contrast that knows of nobody else.

What a participant adds to such a loss depends on that participant alone, which is what differential
privacy by clipping needs; a contrast within a batch moves with everybody in it. Beside the pairs of
a batch the points keep the encoder of a federation from collapsing: they give sites whose ages are
narrow something to repel, at places that carry age from the first step. The curve of points
is that of random Fourier features (Rahimi and Recht, "Random features for large-scale kernel
machines", NeurIPS 2007, https://papers.nips.cc/paper/3182). Unlike the paper its frequencies are
quantiles of the normal distribution, so that nothing is drawn.
"""

import math
from dataclasses import replace
from statistics import NormalDist

import torch

from fedcl.config.kernels import Kernel
from fedcl.config.moments import Prototypes
from fedcl.kernels.positiveness import Known, positiveness
from fedcl.losses.pairs import Pairs, own_views
from fedcl.shapes import AnchorRows, PerNode, ViewEmbeddings


def prototype_ages(settings: Prototypes) -> PerNode:
    """Return the prototypes' ages in years, float32."""
    return settings.first + settings.spacing * torch.arange(settings.count, dtype=torch.float32)


def prototype_curve(ages: PerNode, dim: int, *, bandwidth_years: float) -> AnchorRows:
    """Return a unit vector for each age, shape (age, dim).

    <p(a), p(b)> approximates exp(-(a - b)^2 / (2 bandwidth^2)), the better the larger `dim`.

    Args:
        ages: Ages in years, shape (age,).
        dim: Length of the vectors, >= 2; the last number of an odd one is 0.
        bandwidth_years: Years over which the curve forgets, > 0.
    """
    if dim < 2:
        raise ValueError(f"a curve of unit vectors needs at least 2 dimensions, got {dim}")
    half = dim // 2
    # The upper half of the quantiles: cosine and sine of -w are those of w up to sign.
    quantiles = [NormalDist().inv_cdf(0.5 + (i + 0.5) / (2 * half)) for i in range(half)]
    frequency = torch.tensor(quantiles, dtype=torch.float64) / bandwidth_years
    phase = ages.double()[:, None] * frequency
    curve = torch.cat([phase.cos(), phase.sin()], dim=1) / math.sqrt(half)
    return torch.nn.functional.pad(curve, (0, dim - 2 * half)).to(ages.dtype)


def pairs_with_prototypes(
    embeddings: ViewEmbeddings,
    known: Known,
    settings: Prototypes,
    kernel: Kernel,
    *,
    temperature: float,
) -> Pairs:
    """Return every view against the participant's other views and the prototypes.

    Args:
        embeddings: Unit vectors, one row for each view of each participant.
        known: Covariates of the participants; age in years.
        settings: Ages of the prototypes, and how many participants each stands for.
        kernel: Kernel that compares participants by age alone.
        temperature: Divides the cosine similarity, > 0.
    """
    pairs = own_views(embeddings, temperature=temperature)
    return beside_prototypes(pairs, embeddings, known, settings, kernel, temperature=temperature)


def beside_prototypes(
    pairs: Pairs,
    embeddings: ViewEmbeddings,
    known: Known,
    settings: Prototypes,
    kernel: Kernel,
    *,
    temperature: float,
) -> Pairs:
    """Return the pairs with every prototype as a further candidate of every anchor.

    Args:
        pairs: Pairs of the views in `embeddings`, of which no candidate is a node.
        embeddings: Unit vectors, one row for each view of each participant.
        known: Covariates of the participants; age in years.
        settings: Ages of the prototypes, and how many participants each stands for.
        kernel: Kernel that compares participants by age alone.
        temperature: Divides the cosine similarity, > 0; the one that the pairs were built with.
    """
    assert pairs.log_multiplicity is None
    views, dim, device = embeddings.shape[1], embeddings.shape[2], embeddings.device
    rows = embeddings.flatten(0, 1).to(pairs.similarity.dtype)
    ages = prototype_ages(settings).to(device)
    points = prototype_curve(ages, dim, bandwidth_years=settings.bandwidth).to(rows.dtype)
    with torch.autocast(device.type, enabled=False):
        to_points = rows @ points.T / temperature
    known_age = {"age": known["age"].to(rows.dtype)}
    weights = positiveness(known_age, {"age": ages.to(rows.dtype)}, kernel)
    weights = weights.repeat_interleave(views, dim=0)
    anchors, others = pairs.participants
    one_each = torch.zeros(len(others), dtype=rows.dtype, device=device)
    stands_for = torch.full((len(ages),), settings.multiplicity, dtype=rows.dtype, device=device)
    numbers = len(rows) + torch.arange(len(ages), device=device)
    return replace(
        pairs,
        similarity=torch.cat([pairs.similarity, to_points], dim=1),
        positiveness=torch.cat([pairs.positiveness, weights], dim=1),
        allowed=torch.cat([pairs.allowed, torch.ones_like(weights, dtype=torch.bool)], dim=1),
        participants=(anchors, torch.cat([others, numbers])),
        log_multiplicity=torch.cat([one_each, stands_for.log()]),
    )
