"""Settings of secure sums, with which the server learns the sum of the sites' vectors only."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Positive, Section
from fedcl.errors import RoundError
from fedcl.secure_sum.fixed_point import FixedPoint


class SecureSum(Section):
    """Settings of the secure sum of Bonawitz et al. 2017, implemented in `fedcl/secure_sum`."""

    word_bits: Literal[32, 64]
    """Number of bits of each value on the wire, 32 or 64."""
    fraction_bits: Annotated[int, Field(ge=0)]
    """Number of bits after the point, at least 0: values are rounded to multiples of
    2^-fraction_bits, and a sum over n sites has an error of at most n 2^-(fraction_bits + 1)."""
    largest: Positive
    """Largest magnitude of any value of a site, greater than 0: of its weights times its
    aggregation weight, its moments, its sum of losses. A site with a larger value is left out of
    the round."""
    threshold: Annotated[float, Field(gt=0.5, le=1)]
    """Share of the asked sites that must answer every exchange, in (0.5, 1], rounded up to a number
    of at least 2 and federation.min_sites. As many sites could open another's vector with the
    server."""
    identities: Path
    """YAML file that maps each site to its public identity key in hexadecimal; each site has its
    own copy and compares it with the others by telephone, not through the server."""
    keys: Path
    """Folder of the private identity key on the site's own disk, made by `fedcl keys`."""

    @property
    def grid(self) -> FixedPoint:
        """The fixed-point grid to which values are rounded."""
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
