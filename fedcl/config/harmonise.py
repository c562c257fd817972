"""Settings of the harmonisation of arrays between sites before training.

docs/explanation/harmonisation.md explains the method.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Positive, Section
from fedcl.errors import ConfigError


class LinearAge(Section):
    """Features depend on age linearly."""

    kind: Literal["linear"]
    """Selects this dependence on age by its name."""


class SplineAge(Section):
    """Features follow a natural cubic spline of age, which is straight beyond the outer knots.

    The knots are part of the settings, so that every site builds the same columns without seeing
    the ages at another.
    """

    kind: Literal["natural_spline"]
    """Selects this dependence on age by its name."""
    knots: Annotated[tuple[Positive, ...], Field(min_length=3)]
    """Ages of the knots in years, greater than 0, at least three in ascending order."""

    @model_validator(mode="after")
    def _ascending(self) -> "SplineAge":
        if any(later <= earlier for earlier, later in pairwise(self.knots)):
            raise ValueError(f"knots: write them in ascending order; found {list(self.knots)}")
        return self


Age = Annotated[LinearAge | SplineAge, Field(discriminator="kind")]


class CombatSettings(Section):
    """ComBat, which estimates and removes each site's own shift and scale of every feature."""

    kind: Literal["combat"]
    """Selects this harmonisation by its name."""
    covariates: tuple[Literal["age", "sex"], ...]
    """Covariates whose effects on features are preserved and not taken for effects of the site."""
    age: Age | None
    """How features depend on age; it must be null if age is not among the covariates."""
    adjust: Literal["site_mean", "location", "participant"]
    """What is removed: site_mean removes shift and scale about the site's mean, location the shift
    only, and both depend on the site alone. participant removes, as published, what also depends on
    the participant's own covariates, the age that is to be predicted among them."""
    unseen: Literal["unchanged", "own"]
    """Treatment of sites on which nothing was fitted: unchanged leaves their arrays as they are,
    own fits on all scans of the site itself, test participants' included."""

    @property
    def withholds_age(self) -> bool:
        """Whether a participant's scans are adjusted without regard to their age."""
        return self.adjust != "participant" or "age" not in self.covariates

    @model_validator(mode="after")
    def _age_and_covariates_agree(self) -> "CombatSettings":
        if len(set(self.covariates)) < len(self.covariates):
            raise ValueError("covariates: name each once")
        if (self.age is None) == ("age" in self.covariates):
            raise ValueError(
                "age: say how features depend on it, {kind: linear} or {kind: natural_spline, "
                "knots: [...]}, where it is among the covariates, and null where it is not"
            )
        return self


def require_whole_cohort(settings: CombatSettings | None) -> None:
    """Refuse to harmonise in a federation, where each site sees only its own data.

    Raises:
        ConfigError: the experiment asks for harmonisation.
    """
    if settings is not None:
        raise ConfigError(
            "harmonise: ComBat compares all sites, and a site between institutions sees itself "
            "only; no message of a federation carries its sums. Write harmonise: null, or run "
            "fedcl simulate or fedcl pooled where the whole cohort lies"
        )
