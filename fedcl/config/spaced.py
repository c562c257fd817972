"""Points at equal distances along a number."""

from pydantic import model_validator

from fedcl.config.section import Positive, Section


class Spaced(Section):
    """first, first + spacing, ..., last."""

    first: float
    last: float
    spacing: Positive

    @property
    def count(self) -> int:
        """How many points there are."""
        return round((self.last - self.first) / self.spacing) + 1

    @model_validator(mode="after")
    def _whole_steps(self) -> "Spaced":
        steps = (self.last - self.first) / self.spacing
        if steps < 1 or abs(steps - round(steps)) > 1e-9:
            raise ValueError(
                f"from {self.first:g} to {self.last:g} is not a whole number of steps of "
                f"{self.spacing:g}"
            )
        return self
