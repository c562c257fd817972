"""Fixed public points along age that participants are compared with instead of each other."""

from pydantic import model_validator

from fedcl.config.section import Positive, Section


class Prototypes(Section):
    """Unit vectors on a smooth curve; nobody's data is in them."""

    first: float
    last: float
    spacing: Positive
    """Years."""
    bandwidth: Positive
    """Years over which the curve forgets: prototypes a years apart have similarity
    exp(-a^2 / (2 bandwidth^2)), up to the dimension's resolution."""
    multiplicity: Positive
    """How many participants each prototype stands for in a denominator."""

    @model_validator(mode="after")
    def _whole_steps(self) -> "Prototypes":
        steps = (self.last - self.first) / self.spacing
        if steps < 1 or abs(steps - round(steps)) > 1e-9:
            raise ValueError(
                f"from {self.first:g} to {self.last:g} is not a whole number of steps of "
                f"{self.spacing:g}"
            )
        return self
