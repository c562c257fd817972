"""Kernels for a training loop: each says how similar the labels of two participants are, in [0, 1].

They hold parameters and names; the formulas are those of `fedcl.kernels.positiveness`, which the
configuration's kernels use too.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import ValidationError
from torch import Tensor

from fedcl.config import kernels as settings
from fedcl.config.faults import problems_of
from fedcl.config.section import Section
from fedcl.kernels.labels import Labels, NamedLabels, named_labels
from fedcl.kernels.positiveness import positiveness, within_batch

_Section = TypeVar("_Section", bound=Section)

Names = str | Sequence[str] | None
"""Names of covariates; None: all that the labels hold."""


class LabelKernel(ABC):
    """Base class of the kernels; called with labels, a kernel returns degrees of positiveness.

    Example:
        >>> from fedcl.kernels import Gaussian, LabelKernel
        >>> isinstance(Gaussian(bandwidth=5.0), LabelKernel)
        True
    """

    def __call__(self, labels: Labels, others: Labels | None = None) -> Tensor:
        """Return the degree of positiveness of every pair.

        Args:
            labels: Labels of n participants.
            others: Labels of m participants; None: the same n, each wholly similar to itself.

        Returns:
            Shape (n, m) or (n, n), in [0, 1].
        """
        named = named_labels(labels)
        if others is None:
            return within_batch(named.known, self.section(named))
        return positiveness(named.known, named_labels(others).known, self.section(named))

    @abstractmethod
    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it.

        Args:
            labels: Labels whose names the kernel takes where it has none of its own; None: not
                known yet.

        Raises:
            ValueError: parameters out of range, or labels without what the kernel compares.
        """


@dataclass(frozen=True)
class Gaussian(LabelKernel):
    """exp(-d^2 / 2), d^2 the sum of (difference / bandwidth)^2 over the covariates.

    Args:
        bandwidth: SD of the Gaussian in the covariate's own unit (years for age), > 0; one for
            each covariate.
        covariates: Names of what is compared; None: everything that the labels hold.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> Gaussian(bandwidth=5.0)(ages)
        tensor([[1.0000e+00, 6.0653e-01, 1.2664e-14],
                [6.0653e-01, 1.0000e+00, 2.2897e-11],
                [1.2664e-14, 2.2897e-11, 1.0000e+00]])
    """

    bandwidth: float | Sequence[float]
    covariates: Names = None

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        return _distance_kernel(settings.GaussianKernel, "gaussian", self, labels)


@dataclass(frozen=True)
class Cauchy(LabelKernel):
    """1 / (1 + d^2), which falls more slowly than the Gaussian.

    Args:
        bandwidth: Difference at which two participants are half similar, in the covariate's own
            unit, > 0; one for each covariate.
        covariates: Names of what is compared; None: everything that the labels hold.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Cauchy
        >>> Cauchy(bandwidth=5.0)(torch.tensor([20.0, 25.0]))
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])
    """

    bandwidth: float | Sequence[float]
    covariates: Names = None

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        return _distance_kernel(settings.CauchyKernel, "cauchy", self, labels)


@dataclass(frozen=True)
class Discrete(LabelKernel):
    """1 where all covariates are equal, else 0: classes.

    Args:
        covariates: Names of what is compared; None: everything that the labels hold.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Discrete
        >>> Discrete()(torch.tensor([0, 1, 1]))
        tensor([[1., 0., 0.],
                [0., 1., 1.],
                [0., 1., 1.]])
    """

    covariates: Names = None

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        names = _covariates(self.covariates, labels) or ("labels",)
        return _checked(settings.DiscreteKernel, kind="discrete", covariates=names)


@dataclass(frozen=True)
class Anatomical(LabelKernel):
    """AnatCL: mean cosine similarity of anatomical measures, of labels (n, measure, region).

    Args:
        mode: local: one cosine for each region, over its measures; global: one for each measure,
            over the regions.
        table: Name of the measures among the labels; None: the only table that they hold.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Anatomical
        >>> thickness_and_area = torch.tensor([[[2.0, 3.0], [1.0, 1.0]], [[2.0, 3.0], [2.0, 2.0]]])
        >>> Anatomical(mode="global")(thickness_and_area)
        tensor([[1., 1.],
                [1., 1.]])
    """

    mode: Literal["local", "global"] = "local"
    table: str | None = None

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        table = _table(self.table, labels)
        return _checked(
            settings.AnatomicalKernel,
            kind="anatomical",
            table=table,
            mode=self.mode,
            measures=("given",),
            scales=(1.0,),
        )


@dataclass(frozen=True)
class RepresentationSimilarity(LabelKernel):
    """Similarity of given representations, of labels (n, d), such as a generative model's.

    Args:
        bandwidth: SD of a Gaussian of the Euclidean distance, > 0; None: the cosine, 0 where it is
            negative.
        table: Name of the representations among the labels; None: the only table that they hold.

    Example:
        >>> import torch
        >>> from fedcl.kernels import RepresentationSimilarity
        >>> RepresentationSimilarity()(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
        tensor([[1.0000, 0.6000],
                [0.6000, 1.0000]])
    """

    bandwidth: float | None = None
    table: str | None = None

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        return _checked(
            settings.RepresentationKernel,
            kind="representation",
            table=_table(self.table, labels),
            bandwidth=self.bandwidth,
        )


@dataclass(frozen=True)
class Precomputed(LabelKernel):
    """A given matrix of degrees of positiveness, of labels (n, n).

    Args:
        table: Name of the matrix among the labels; None: the only table that they hold.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Precomputed
        >>> Precomputed()(torch.tensor([[1.0, 0.3], [0.3, 1.0]]))
        tensor([[1.0000, 0.3000],
                [0.3000, 1.0000]])
    """

    table: str | None = None

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        table = _table(self.table, labels)
        return _checked(settings.PrecomputedKernel, kind="precomputed", table=table)


class _Several(LabelKernel):
    def __init__(self, *kernels: LabelKernel) -> None:
        if not kernels:
            raise ValueError(f"{type(self).__name__} needs at least one kernel; got none")
        self.kernels = kernels

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.kernels))})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.kernels == other.kernels

    def __hash__(self) -> int:
        return hash((type(self), self.kernels))


class Product(_Several):
    """Similar in every respect: the product of kernels.

    Args:
        kernels: At least one; name their covariates where the labels hold several.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Discrete, Gaussian, Product
        >>> kernel = Product(Gaussian(bandwidth=5.0, covariates="age"), Discrete("sex"))
        >>> kernel({"age": torch.tensor([20.0, 25.0, 25.0]), "sex": torch.tensor([0, 0, 1])})
        tensor([[1.0000, 0.6065, 0.0000],
                [0.6065, 1.0000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        parts = tuple(kernel.section(labels) for kernel in self.kernels)
        return settings.ProductKernel(kind="product", kernels=parts)


class Average(_Several):
    """Similar on average: the mean of kernels.

    Args:
        kernels: At least one; name their covariates where the labels hold several.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Average, Discrete
        >>> kernel = Average(Discrete("sex"), Discrete("site"))
        >>> kernel({"sex": torch.tensor([0, 0]), "site": torch.tensor([1, 2])})
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])
    """

    def section(self, labels: NamedLabels | None = None) -> settings.Kernel:
        """Return the kernel as a configuration writes it."""
        parts = tuple(kernel.section(labels) for kernel in self.kernels)
        return settings.MeanKernel(kind="mean", kernels=parts)


def _distance_kernel(
    kind: type[settings.GaussianKernel] | type[settings.CauchyKernel],
    word: str,
    kernel: Gaussian | Cauchy,
    labels: NamedLabels | None,
) -> settings.Kernel:
    bandwidth = kernel.bandwidth
    bandwidths = tuple(bandwidth) if isinstance(bandwidth, Sequence) else (bandwidth,)
    names = _covariates(kernel.covariates, labels)
    if names is None:
        names = tuple(f"labels[{k}]" for k in range(len(bandwidths)))
    return _checked(kind, kind=word, covariates=names, bandwidths=bandwidths)


def _covariates(own: Names, labels: NamedLabels | None) -> tuple[str, ...] | None:
    """Return the names of what is compared; None where the labels are not known yet."""
    names = (own,) if isinstance(own, str) else own
    if labels is None:
        return None if names is None else tuple(names)
    if names is None:
        if not labels.columns:
            raise ValueError(
                "the kernel compares one number per participant, and the labels hold "
                f"{', '.join(f'{n} {tuple(labels.known[n].shape)}' for n in labels.tables)}"
            )
        return labels.columns
    for name in names:
        _require_present(name, labels.columns)
    return tuple(names)


def _table(own: str | None, labels: NamedLabels | None) -> str:
    if labels is None:
        return own or "labels"
    if own is None:
        if len(labels.tables) != 1:
            raise ValueError(
                "the kernel compares a table, a row of several numbers per participant, and the "
                f"labels hold {', '.join(labels.tables) or 'none'}; name it with table"
            )
        return labels.tables[0]
    _require_present(own, labels.tables)
    return own


def _require_present(name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ValueError(
            f"the kernel compares {name!r}, which the labels do not hold; they hold "
            f"{', '.join(map(repr, names)) or 'nothing of that shape'}"
        )


def _checked(section: type[_Section], **values: object) -> _Section:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ValueError(problems_of(error, section)) from None
