"""Secure sums: the server is told what the sites' vectors add up to, and nothing of any one."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Positive, Section
from fedcl.errors import RoundError
from fedcl.secure_sum.fixed_point import FixedPoint


class SecureSum(Section):
    """What sites need for the protocol of Bonawitz et al. 2017 (`fedcl/secure_sum`)."""

    word_bits: Literal[32, 64]
    """Of each value on the wire."""
    fraction_bits: Annotated[int, Field(ge=0)]
    """Values are rounded to multiples of 2^-fraction_bits; a sum over n sites is off by at most
    n 2^-(fraction_bits + 1)."""
    largest: Positive
    """The most any value of a site may be, in magnitude: its weights times its aggregation weight,
    its moments, its sum of losses. A site with a larger one is left out of the round."""
    threshold: Annotated[float, Field(gt=0.5, le=1)]
    """Share of the asked sites that must answer every exchange, rounded up; at least two, more than
    half, and federation.min_sites. So many sites together could open another's vector with the
    server."""
    identities: Path
    """A YAML file, site: public identity key in hexadecimal; each site has its own copy, checked
    with the others over the telephone and not through the server."""
    keys: Path
    """Folder of the private identity key, on the site's own disk (`fedcl keys` makes it)."""

    @property
    def grid(self) -> FixedPoint:
        """The values' grid."""
        return FixedPoint(
            word_bits=self.word_bits, fraction_bits=self.fraction_bits, largest=self.largest
        )

    @model_validator(mode="after")
    def _grid_has_room(self) -> "SecureSum":
        try:
            self.grid  # noqa: B018 (it checks itself)
        except RoundError as error:
            raise ValueError(str(error)) from None
        return self
