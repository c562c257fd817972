"""Settings of the erasure of the site from a trained encoder's features.

docs/explanation/erasure.md explains the method.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fedcl.config.evaluation import Features
from fedcl.config.moments import count_points
from fedcl.config.section import Count, NonNegative, Positive, Section


class AgeNodeSettings(Section):
    """Equally spaced ages in years at which the features' means are taken."""

    first: float
    """The youngest age; younger participants count there."""
    last: float
    """The oldest age, a whole number of spacings later; older participants count there."""
    spacing: Positive
    """Years between neighbouring nodes, greater than 0; between them means are interpolated."""

    @property
    def count(self) -> int:
        """Number of nodes, at least 2."""
        return count_points(self.first, self.last, self.spacing)

    @model_validator(mode="after")
    def _whole_steps(self) -> "AgeNodeSettings":
        count_points(self.first, self.last, self.spacing)
        return self


class LeaceSettings(Section):
    """Least-squares erasure of the site, given age, after the last round."""

    kind: Literal["leace"]
    """Selects this erasure by its name."""
    features: Annotated[tuple[Features, ...], Field(min_length=1)]
    """Features from which the site is erased: representation, embedding, or both."""
    ages: AgeNodeSettings
    """Ages at which the features' means are taken."""
    keep_age: Literal["auto"] | Annotated[int, Field(ge=0)]
    """Number of leading directions of the curve of means along age that are not touched, at least
    0; auto chooses it by cross-validation over sites."""
    rank: Literal["auto", "full"] | Count
    """Number of directions that are erased, at least 1: those in which sites differ most. full
    erases every direction in which they differ, auto chooses by cross-validation over sites."""
    shrinkage: Literal["auto"] | NonNegative
    """Number of participants at which a site's measured shift counts half, at least 0; 0 takes
    shifts as they are, auto estimates the number from the sites' sums."""

    @field_validator("features")
    @classmethod
    def _once(cls, features: tuple[Features, ...]) -> tuple[Features, ...]:
        if len(set(features)) < len(features):
            raise ValueError("name representation and embedding once each")
        return features
