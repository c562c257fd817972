"""Decoupled uniformity: centroids of participants spread out; a prior pulls similar ones together.

Dufumier et al., "Integrating prior knowledge in contrastive learning with kernel", ICML 2023,
https://arxiv.org/abs/2206.01646; the authors' code
https://github.com/Duplums/contrastive-decoupled-uniformity
"""

import math

import torch

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.log_sums import log_sum
from fedcl.losses.module import TwoViewLoss
from fedcl.losses.nodes import RemoteParticipants, log_mean_exp
from fedcl.losses.pairs import gram
from fedcl.losses.terms import BatchTerm
from fedcl.shapes import AnchorRows, NodeMeans, PairWeights, Representation, ToNodes, ViewEmbeddings

AUTHORS_SCALE = 2.0
AUTHORS_RIDGE = 0.01


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
        scale: Multiplies the squared distance; 1 as published.
    """
    centroids = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)).mean(dim=1)
    if prior is not None:
        centroids = kernel_smooth(centroids, prior, added=ridge * len(centroids) ** 0.5)
    return _uniformity(centroids, scale)


def decoupled_uniformity_across(
    embeddings: ViewEmbeddings,
    remote: RemoteParticipants,
    *,
    ridge: float = 1.0,
    scale: float = 1.0,
) -> BatchTerm:
    """Return `decoupled_uniformity` over all pairs with at least one participant of the batch.

    With a prior a node is one point of the regression that weighs as much as its participants, who
    all have its covariates. Without nodes it is the value of `decoupled_uniformity`; it is always
    counted.

    Args:
        embeddings: Unit vectors of the batch.
        remote: Participants of other sites.
        ridge: lambda sqrt(n), n everybody's number.
        scale: Multiplies the squared distance; 1 as published.
    """
    centroids = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)).mean(dim=1)
    nodes = remote.nodes
    count = nodes.count.to(centroids.dtype)
    if remote.prior is not None:
        points = torch.cat([centroids, nodes.mean.to(centroids.dtype)])
        weights = torch.cat([torch.ones_like(centroids[:, 0]), count])
        kernel = remote.prior.detach().to(points.dtype)
        added = ridge * weights.sum().sqrt()
        with torch.autocast(points.device.type, enabled=False):
            points = kernel @ torch.linalg.solve(kernel + torch.diag(added / weights), points)
        centroids, of_nodes = points[: len(centroids)], points[len(centroids) :]
        to_nodes = -scale * _squared_distance(centroids, of_nodes)
    else:
        mean = 2 * scale * nodes.similarity(centroids)
        if remote.order == 2:
            spread = (2 * scale) ** 2 * nodes.spread(centroids)
            mean = log_mean_exp(mean, spread, 1.0, largest=2 * scale)
        to_nodes = mean - scale * (1 + centroids.square().sum(dim=1, keepdim=True))
    # A pair of the batch is met from both of its ends, one with a node from one end only.
    exponent = torch.cat([_exponents(centroids, scale), to_nodes + (2 * count).log()], dim=1)
    own = ~torch.eye(len(centroids), dtype=torch.bool, device=exponent.device)
    allowed = torch.cat([own, torch.ones_like(to_nodes, dtype=torch.bool)], dim=1)
    total = log_sum(exponent.reshape(1, -1), allowed.reshape(1, -1))[0]
    n = len(centroids)
    mean_exp = total - (n * (n - 1) + 2 * n * count.sum()).log()
    return BatchTerm(mean_exp, torch.ones_like(mean_exp))


def decoupled_uniformity_authors_variant(
    embeddings: ViewEmbeddings, prior: PairWeights | None = None
) -> BatchTerm:
    """Return the value of the authors' code: scale 2, and lambda n = 0.01 whatever n is."""
    centroids = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)).mean(dim=1)
    if prior is not None:
        centroids = kernel_smooth(centroids, prior, added=AUTHORS_RIDGE)
    return _uniformity(centroids, AUTHORS_SCALE)


def kernel_smooth(centroids: Representation, prior: PairWeights, *, added: float) -> Representation:
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
    others = ~torch.eye(n, dtype=torch.bool, device=centroids.device)
    total = log_sum(_exponents(centroids, scale).reshape(1, -1), others.reshape(1, -1))[0]
    mean = total - math.log(n * (n - 1))
    return BatchTerm(mean, torch.ones_like(mean))


def _squared_distance(some: AnchorRows, others: NodeMeans) -> ToNodes:
    """Return ||a - b||^2 for every pair; the gradient of cdist is not defined where a = b."""
    squares = some.square().sum(dim=1)[:, None] + others.square().sum(dim=1)[None, :]
    return squares - 2 * some @ others.T


def _exponents(centroids: Representation, scale: float) -> PairWeights:
    """Return -scale ||mu_i - mu_j||^2."""
    products = gram(centroids)
    norm = products.diagonal()
    return scale * (2 * products - norm[:, None] - norm[None, :])


class DecoupledUniformity(TwoViewLoss):
    """Centroids of participants spread out; a kernel pulls similar ones together.

    Args:
        kernel: Says how similar two participants are a priori; None: nothing is known.
        ridge: lambda sqrt(n) of the regression on the kernel, > 0; not used without a kernel.
        authors_variant: Whether to compute what the authors' public code does instead.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import DecoupledUniformity
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = DecoupledUniformity(Gaussian(bandwidth=5.0), ridge=0.5)
        >>> loss(first, second, ages)
        tensor(-0.2467)
    """

    loss = "decoupled_uniformity"

    def __init__(
        self,
        kernel: LabelKernel | None = None,
        *,
        ridge: float = 1.0,
        authors_variant: bool = False,
    ) -> None:
        super().__init__(
            kernel, ridge=None if kernel is None else ridge, authors_variant=authors_variant
        )
