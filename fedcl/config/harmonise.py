"""Harmonisation of the sites' measures before training (docs/explanation/harmonisation.md)."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Positive, Section
from fedcl.errors import ConfigError


class LinearAge(Section):
    """A feature changes by so much per year."""

    kind: Literal["linear"]


class SplineAge(Section):
    """A natural cubic spline: a straight line below the first knot and above the last.

    The knots are written down, so that every site builds the same columns without having seen
    another's ages.
    """

    kind: Literal["natural_spline"]
    knots: Annotated[tuple[Positive, ...], Field(min_length=3)]
    """Years, ascending."""

    @model_validator(mode="after")
    def _ascending(self) -> "SplineAge":
        if any(later <= earlier for earlier, later in pairwise(self.knots)):
            raise ValueError(f"knots: write them in ascending order; found {list(self.knots)}")
        return self


Age = Annotated[LinearAge | SplineAge, Field(discriminator="kind")]


class Combat(Section):
    """ComBat: each site's own shift and scale of every feature are estimated and taken out."""

    kind: Literal["combat"]
    covariates: tuple[Literal["age", "sex"], ...]
    """What features may differ by between sites and keep: not taken for an effect of the site."""
    age: Age | None
    """How features depend on age; null where age is not among the covariates."""
    adjust: Literal["site_mean", "location", "participant"]
    """site_mean: shift and scale about the site's mean, location: the shift alone; what is done to
    a scan then depends on its site alone. participant: on the participant's own covariates too, as
    published; the age that is to be predicted then enters."""
    unseen: Literal["unchanged", "own"]
    """Participants of sites that nothing was fitted on. own: by what all of their site's scans have
    in common, test participants' included."""

    @property
    def withholds_age(self) -> bool:
        """Whether no participant's age decides what is done to their scans."""
        return self.adjust != "participant" or "age" not in self.covariates

    @model_validator(mode="after")
    def _age_and_covariates_agree(self) -> "Combat":
        if len(set(self.covariates)) < len(self.covariates):
            raise ValueError("covariates: name each once")
        if (self.age is None) == ("age" in self.covariates):
            raise ValueError(
                "age: say how features depend on it, {kind: linear} or {kind: natural_spline, "
                "knots: [...]}, where it is among the covariates, and null where it is not"
            )
        return self


def require_whole_cohort(settings: Combat | None) -> None:
    """Refuse to harmonise where a site sees itself only.

    Raises:
        ConfigError: there is something to harmonise.
    """
    if settings is not None:
        raise ConfigError(
            "harmonise: ComBat compares all sites, and a site between institutions sees itself "
            "only; no message of a federation carries its sums. Write harmonise: null, or run "
            "fedcl simulate or fedcl pooled where the whole cohort lies"
        )


def cautions(settings: Combat | None) -> tuple[str, ...]:
    """Return what a reader of the results has to know."""
    if settings is None:
        return ()
    told = []
    if not settings.withholds_age:
        told.append(
            "harmonise.adjust: participant lets the age that is to be predicted enter the test "
            "participants' arrays; errors of age are too small."
        )
    if settings.unseen == "own":
        told.append(
            "harmonise.unseen: own has looked at all scans of the sites it was not fitted on, the "
            "test participants' included."
        )
    return tuple(told)
