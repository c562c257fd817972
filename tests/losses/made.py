"""Small random batches, and the values and gradients of losses over them."""

import torch
from torch import Tensor

from fedcl.config.kernels import DiscreteKernel, GaussianKernel, Kernel
from fedcl.kernels.positiveness import within_batch
from fedcl.losses.pairs import Pairs, pairs_of_views

SIGMA = GaussianKernel(kind="gaussian", covariates=("age",), bandwidths=(5.0,))
CLASSES = DiscreteKernel(kind="discrete", covariates=("age",))


def gaussian(sigma: float) -> GaussianKernel:
    return GaussianKernel(kind="gaussian", covariates=("age",), bandwidths=(sigma,))


def embeddings(generator, participants=7, views=2, dim=5, dtype=torch.float64) -> Tensor:
    z = torch.randn(participants, views, dim, generator=generator, dtype=dtype)
    return torch.nn.functional.normalize(z, dim=-1)


def ages(generator, participants=7) -> Tensor:
    return 20 + 40 * torch.rand(participants, generator=generator, dtype=torch.float64)


def classes(generator, participants=7, count=3) -> Tensor:
    return torch.randint(0, count, (participants,), generator=generator).double()


def build(z, y, temperature=0.1, kernel: Kernel = SIGMA, metric="cosine") -> Pairs:
    weights = within_batch({"age": y}, kernel).to(z.dtype)
    return pairs_of_views(z, weights, temperature=temperature, metric=metric)


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    """The gradient of an uneven weighting of the anchors, so that a permuted one cannot pass."""
    weights = torch.arange(1.0, value.numel() + 1, dtype=value.dtype).reshape(value.shape)
    return torch.autograd.grad((value * weights).sum(), leaf)[0]


def assert_equal(ours, slow, z: Tensor, *, tolerance=1e-8) -> None:
    """Value and gradient with respect to the embeddings, of two functions of them."""
    leaf, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    value, expected = ours(leaf), slow(other)
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        gradient(value, leaf), gradient(expected, other), rtol=tolerance, atol=tolerance
    )
