"""Kernels: how similar two participants are, from their labels, as a number in [0, 1].

A contrastive loss takes a kernel and calls it on the labels of a batch: `LExp(Gaussian(5.0))`.
"""

from typing import TYPE_CHECKING, Any

from fedcl import public_names

if TYPE_CHECKING:
    from fedcl.kernels.label_kernels import (
        Anatomical,
        Average,
        Cauchy,
        Discrete,
        Gaussian,
        LabelKernel,
        Precomputed,
        Product,
        RepresentationSimilarity,
    )

__all__ = [
    "Anatomical",
    "Average",
    "Cauchy",
    "Discrete",
    "Gaussian",
    "LabelKernel",
    "Precomputed",
    "Product",
    "RepresentationSimilarity",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fedcl.kernels import label_kernels  # torch is imported when a kernel is first used

    return getattr(label_kernels, name)


__dir__ = public_names(__name__)
