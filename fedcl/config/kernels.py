"""Kernels: the degree of positiveness of two participants, and what it compares."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Positive, Section

Covariates = Annotated[tuple[str, ...], Field(min_length=1)]
"""`age` (years), `sex`, `site`, or a column of the participants table."""


class _Distance(Section):
    covariates: Covariates
    """What is compared: `age` (years), `sex`, `site`, or columns of the participants table."""
    bandwidths: tuple[Positive, ...]
    """One per covariate, in its own unit (age: years)."""

    @model_validator(mode="after")
    def _one_each(self) -> "_Distance":
        if len(self.bandwidths) != len(self.covariates):
            raise ValueError(
                f"{len(self.covariates)} covariates and {len(self.bandwidths)} bandwidths; write "
                "one bandwidth for each"
            )
        return self


class GaussianKernel(_Distance):
    """exp(-d^2 / 2), d^2 the sum of (difference / bandwidth)^2 over the covariates."""

    kind: Literal["gaussian"]


class CauchyKernel(_Distance):
    """1 / (1 + d^2)."""

    kind: Literal["cauchy"]


class DiscreteKernel(Section):
    """1 where all covariates are equal, else 0."""

    kind: Literal["discrete"]
    covariates: Covariates
    """What must be equal: `sex`, `site`, or columns of the participants table."""


class AnatomicalKernel(Section):
    """AnatCL: mean cosine similarity of anatomical measures."""

    kind: Literal["anatomical"]
    table: str
    """File in data.path with columns REGION_MEASURE (FreeSurfer's names), or desikan_roi."""
    mode: Literal["local", "global"]
    """local: per region, over its measures; global: per measure, over the regions."""
    measures: Annotated[tuple[str, ...], Field(min_length=1)]
    """Endings of the columns, such as thickness, volume, area."""
    scales: tuple[Positive, ...]
    """What each measure is divided by, in its own unit; 1 leaves it as it is."""

    @model_validator(mode="after")
    def _one_each(self) -> "AnatomicalKernel":
        if len(self.scales) != len(self.measures):
            raise ValueError(
                f"{len(self.measures)} measures and {len(self.scales)} scales; write one for each"
            )
        return self


class RepresentationKernel(Section):
    """Similarity of given representations, such as those of a generative model."""

    kind: Literal["representation"]
    table: str
    """File in data.path: participant_id and one column per dimension."""
    bandwidth: Positive | None
    """sigma of a gaussian of the Euclidean distance; null: the cosine."""


class PrecomputedKernel(Section):
    """A given matrix of degrees of positiveness."""

    kind: Literal["precomputed"]
    table: str
    """File in data.path: participant_id and one column per participant, values in [0, 1]."""


class ProductKernel(Section):
    """Similar in every respect."""

    kind: Literal["product"]
    kernels: Annotated[tuple["Kernel", ...], Field(min_length=1)]
    """The kernels that are multiplied."""


class MeanKernel(Section):
    """Similar on average."""

    kind: Literal["mean"]
    kernels: Annotated[tuple["Kernel", ...], Field(min_length=1)]
    """The kernels that are averaged."""


Kernel = Annotated[
    GaussianKernel
    | CauchyKernel
    | DiscreteKernel
    | AnatomicalKernel
    | RepresentationKernel
    | PrecomputedKernel
    | ProductKernel
    | MeanKernel,
    Field(discriminator="kind"),
]


def is_binary(kernel: Kernel) -> bool:
    """Whether the kernel makes classes: degrees of positiveness 0 and 1 only."""
    if isinstance(kernel, ProductKernel):
        return all(is_binary(k) for k in kernel.kernels)
    return isinstance(kernel, DiscreteKernel)


def compared_by(kernel: Kernel) -> frozenset[str]:
    """Return the names of everything the kernel compares: covariates and tables."""
    match kernel:
        case GaussianKernel() | CauchyKernel() | DiscreteKernel():
            return frozenset(kernel.covariates)
        case ProductKernel() | MeanKernel():
            return frozenset().union(*(compared_by(k) for k in kernel.kernels))
        case _:
            return frozenset({kernel.table})
