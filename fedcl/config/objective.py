"""What is minimised at a site."""

from typing import Literal

from fedcl.config.section import Positive, Section


class Kernel(Section):
    """Degree of positiveness w = K(y - y') of two ages."""

    kind: Literal["gaussian", "cauchy", "discrete"]
    bandwidth_years: Positive | None
    """sigma of the gaussian, gamma of the cauchy, in years; null for discrete."""


class Objective(Section):
    """What is minimised at a site."""

    loss: Literal["l_exp", "y_aware", "info_nce", "l1"]
    temperature: Positive
    """Divides the cosine similarity."""
    kernel: Kernel
