"""FairKL: similarities of pairs that share the bias and of pairs that do not get one distribution.

Barbano et al., "Unbiased supervised contrastive learning", ICLR 2023,
https://arxiv.org/abs/2211.05568, for classes; the authors' code
https://github.com/EIDOSLAB/unbiased-contrastive-learning. The form for continuous labels is ours:
its authors announce one and have not published it.
"""

from typing import Literal

import torch

from fedcl.debiasing.gaussians import FittedGaussian, kl, squared_gap
from fedcl.debiasing.groups import BiasGroups, Part
from fedcl.debiasing.module import DebiasingTerm
from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.terms import AnchorLoss, BatchTerm
from fedcl.shapes import PairMask, PerParticipant, Representation, Scalar

Side = Literal["positive", "negative", "both"]
Form = Literal["kl", "squared"]

MIN_EFFECTIVE_PAIRS = 2.0
"""Fewer effective pairs than this have no variance to speak of."""


def fairkl(groups: BiasGroups, *, side: Side, form: Form) -> dict[str, BatchTerm]:
    """Return the distance between bias-aligned and bias-conflicting pairs of the batch, per side.

    A Gaussian is fitted to the similarities of each group; "positive" compares pairs of one class
    (positiveness 1), "negative" pairs of two classes. A side is not counted where either group has
    fewer than MIN_EFFECTIVE_PAIRS pairs: one site only, or a class of one.

    Args:
        groups: Pairs of a batch, or of it with the moments of other sites; positiveness 0 or 1.
        side: "positive", "negative", or both of them.
        form: kl: D_KL(aligned || conflicting); squared: squared differences of mean and SD.
    """
    terms: dict[str, BatchTerm] = {}
    for name in _parts(side):
        value, enough = _distance(*groups.gaussians(name, (0, 1)), form, MIN_EFFECTIVE_PAIRS)
        terms[name] = BatchTerm(value, enough.to(value.dtype))
    return terms


def fairkl_regression(
    groups: BiasGroups, *, side: Side, form: Form, min_effective: float = MIN_EFFECTIVE_PAIRS
) -> dict[str, AnchorLoss]:
    """Return the distance of `fairkl` per anchor, its pairs weighted by positiveness, per side.

    "positive" weights pairs by w, "negative" by 1 - w. An anchor is not counted on a side where
    either group has too little effective weight.

    Args:
        groups: Pairs of a batch, or of it with the moments of other sites; positiveness in [0, 1].
        side: "positive", "negative", or both of them.
        form: kl: D_KL(aligned || conflicting); squared: squared differences of mean and SD.
        min_effective: Fewest effective pairs, Kish's (sum w)^2 / sum w^2.
    """
    terms: dict[str, AnchorLoss] = {}
    for name in _parts(side):
        distance = _distance(*groups.gaussians(name, 1), form, min_effective)
        terms[name] = AnchorLoss(*distance)
    return terms


def fairkl_authors_variant(
    vectors: Representation, same_class: PairMask, bias: PerParticipant
) -> dict[str, BatchTerm]:
    """Return the terms of the authors' code, which is not a KL; their sum is its value at kld = 1.

    mean: squared differences of the means of both sides; spread: squared differences of the
    standard deviations of the whole matrix with zeros outside the group; linear: minus the mean of
    positive conflicting pairs, plus that of negative aligned ones. A participant's similarity with
    itself counts among the positive aligned pairs, and an empty group has mean 0.

    Args:
        vectors: Unit vectors, the first view of each participant.
        same_class: Between participants, True on the diagonal.
        bias: A code per participant.
    """
    similarity = vectors @ vectors.T
    same_bias = bias[:, None] == bias[None, :]

    def group(mask: PairMask) -> tuple[Scalar, Scalar]:
        chosen = similarity * mask
        return chosen.sum() / mask.sum().clamp(min=1), chosen.std()

    positive_aligned = group(same_class & same_bias)
    positive_conflicting = group(same_class & ~same_bias)
    negative_aligned = group(~same_class & same_bias)
    negative_conflicting = group(~same_class & ~same_bias)
    gaps = [
        (positive_aligned[moment] - positive_conflicting[moment]).square()
        + (negative_aligned[moment] - negative_conflicting[moment]).square()
        for moment in (0, 1)
    ]
    one = torch.ones_like(gaps[0])
    return {
        "mean": BatchTerm(gaps[0], one),
        "spread": BatchTerm(gaps[1], one),
        "linear": BatchTerm(negative_aligned[0] - positive_conflicting[0], one),
    }


def _parts(side: Side) -> tuple[Part, ...]:
    return ("positive", "negative") if side == "both" else (side,)


def _distance(
    aligned: FittedGaussian, conflicting: FittedGaussian, form: Form, min_effective: float
) -> tuple[torch.Tensor, torch.Tensor]:
    enough = (aligned.effective >= min_effective) & (conflicting.effective >= min_effective)
    value = kl(aligned, conflicting) if form == "kl" else squared_gap(aligned, conflicting)
    return torch.where(enough, value, 0.0), enough


class FairKL(DebiasingTerm):
    """Similarities of pairs that share the bias and of pairs that do not get one distribution.

    Args:
        kernel: Says who is of one class, 0 or 1.
        side: "positive" compares pairs of one class, "negative" pairs of two, "both" adds them.
        form: "kl", D_KL(aligned || conflicting), or "squared" differences of means and SDs.
        authors_variant: Whether to compute what the authors' public code does, on the first
            view and both sides; `form` is then not used.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Discrete
        >>> from fedcl.debiasing import FairKL
        >>> vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> site = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> classes = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
        >>> FairKL(Discrete(), form="squared")(vectors, classes, site)
        tensor(0.0940)
    """

    name = "fairkl"

    def __init__(
        self,
        kernel: LabelKernel,
        *,
        side: Side = "both",
        form: Form = "kl",
        authors_variant: bool = False,
    ) -> None:
        super().__init__(kernel, side=side, form="released" if authors_variant else form)


class FairKLRegression(DebiasingTerm):
    """FairKL for continuous labels: per anchor, its pairs weighted by their positiveness w.

    Args:
        kernel: Says how much two participants' labels are alike, in [0, 1].
        side: "positive" weights pairs by w, "negative" by 1 - w, "both" adds the two.
        form: "kl", D_KL(aligned || conflicting), or "squared" differences of means and SDs.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.debiasing import FairKLRegression
        >>> vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> site = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> ages = torch.tensor([20.0, 25, 60, 65, 22, 27, 58, 70])
        >>> FairKLRegression(Gaussian(bandwidth=10.0), form="squared")(vectors, ages, site)
        tensor(0.1758)
    """

    name = "fairkl_regression"

    def __init__(self, kernel: LabelKernel, *, side: Side = "both", form: Form = "kl") -> None:
        super().__init__(kernel, side=side, form=form)
