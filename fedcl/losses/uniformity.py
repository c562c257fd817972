"""Decoupled uniformity: centroids of participants spread out; a prior pulls similar ones together.

Dufumier et al., "Integrating prior knowledge in contrastive learning with kernel", ICML 2023,
https://arxiv.org/abs/2206.01646; released code
https://github.com/Duplums/contrastive-decoupled-uniformity
"""

import math

import torch

from fedcl.losses.log_sums import log_sum
from fedcl.losses.pairs import gram
from fedcl.losses.terms import BatchTerm
from fedcl.shapes import PairWeights, Representation, ViewEmbeddings

RELEASED_SCALE = 2.0
RELEASED_RIDGE = 0.01


def decoupled_uniformity(
    embeddings: ViewEmbeddings,
    prior: PairWeights | None = None,
    *,
    ridge: float = 1.0,
    scale: float = 1.0,
) -> BatchTerm:
    """Return log mean_{i<j} exp(-scale ||mu_i - mu_j||^2), mu_i the mean of participant i's views.

    With a prior kernel K between participants (of a weak attribute, or of a given representation)
    mu_j becomes sum_i alpha_ij mu_i with alpha = (K + lambda n I)^-1 K, lambda = ridge / sqrt(n).
    One participant alone is not counted.

    Args:
        embeddings: Unit vectors.
        prior: K, symmetric and positive semi-definite, ones on the diagonal; None: without.
        ridge: lambda sqrt(n), > 0.
        scale: Of the squared distance; 1 as published.
    """
    centroids = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)).mean(dim=1)
    if prior is not None:
        centroids = smooth(centroids, prior, added=ridge * len(centroids) ** 0.5)
    return _uniformity(centroids, scale)


def decoupled_uniformity_released(
    embeddings: ViewEmbeddings, prior: PairWeights | None = None
) -> BatchTerm:
    """Return the value of the authors' code: scale 2, and lambda n = 0.01 whatever n is."""
    centroids = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)).mean(dim=1)
    if prior is not None:
        centroids = smooth(centroids, prior, added=RELEASED_RIDGE)
    return _uniformity(centroids, RELEASED_SCALE)


def smooth(centroids: Representation, prior: PairWeights, *, added: float) -> Representation:
    """Return alpha^T mu with alpha = (K + added I)^-1 K, which is symmetric; K has no gradient."""
    kernel = prior.detach().to(centroids.dtype)
    with torch.autocast(centroids.device.type, enabled=False):
        identity = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
        alpha = torch.linalg.solve(kernel + added * identity, kernel)
        return alpha.T @ centroids


def _uniformity(centroids: Representation, scale: float) -> BatchTerm:
    n = len(centroids)
    if n < 2:
        nothing = centroids.sum() * 0
        return BatchTerm(nothing, nothing.detach())
    products = gram(centroids)
    norm = products.diagonal()
    distance = norm[:, None] + norm[None, :] - 2 * products
    others = ~torch.eye(n, dtype=torch.bool, device=distance.device)
    total = log_sum((-scale * distance).reshape(1, -1), others.reshape(1, -1))[0]
    mean = total - math.log(n * (n - 1))
    return BatchTerm(mean, torch.ones_like(mean))
