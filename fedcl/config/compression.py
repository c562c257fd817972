"""Fewer bytes a round, for a rounding of what travels."""

from typing import Literal

from pydantic import model_validator

from fedcl.config.section import Section

Codec = Literal["none", "bfloat16", "int8"]
"""none: float32, bit for bit; bfloat16: 8 significant bits; int8: multiples of the largest value of
a block over 127. What is rounded is entropy coded besides."""


class Compression(Section):
    """How kernels and matrices travel; biases, gains and statistics always do bit for bit."""

    weights: Codec
    """From the server to the sites."""
    updates: Codec
    """From the sites to the server: the change of the weights. What its rounding loses is kept at
    the site and added to its next change."""

    @model_validator(mode="after")
    def _something(self) -> "Compression":
        if self.weights == self.updates == "none":
            raise ValueError("weights and updates are both none; write compression: null instead")
        return self
