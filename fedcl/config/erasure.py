"""Settings of the erasure of the site from a trained encoder's features.

docs/explanation/erasure.md explains the method.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fedcl.config.evaluation import Features
from fedcl.config.moments import Spaced
from fedcl.config.section import Count, NonNegative, Section


class LeaceSettings(Section):
    """Least-squares erasure of the site, given age, after the last round."""

    kind: Literal["leace"]
    """Selects this erasure by its name."""
    features: Annotated[tuple[Features, ...], Field(min_length=1)]
    """Features from which the site is erased: representation, embedding, or both."""
    ages: Spaced
    """Nodes of age in years at which the features' means are taken; between nodes they are
    interpolated."""
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
