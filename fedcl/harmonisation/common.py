"""What all sites have in common: the effect of the covariates, the grand mean, the spread.

Johnson, Li and Rabinovic, "Adjusting batch effects in microarray expression data using empirical
Bayes methods", Biostatistics 2007, https://doi.org/10.1093/biostatistics/kxj037; on brains Fortin
et al., NeuroImage 2018, https://doi.org/10.1016/j.neuroimage.2017.11.024
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedcl.errors import DataError
from fedcl.harmonisation.sums import CovariateSums, ResidualSums

_LEAST_EIGENVALUE = 1e-8
"""Of the covariates' correlation within sites: below, their effects cannot be told apart."""
RESOLUTION = 1e-7
"""Relative, of float32: a feature that spreads less than this does not change."""


@dataclass(frozen=True)
class Coefficients:
    """After round 1.

    Attributes:
        slopes: How a feature changes with a covariate, shape (covariate, feature).
        intercept: The grand mean: the sites' own, weighted by their participants (feature,).
        centre: Mean covariates of all participants, shape (covariate,).
        spread: Covariance of the covariates within sites, shape (covariate, covariate).
    """

    slopes: np.ndarray
    intercept: np.ndarray
    centre: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class Common:
    """After round 2: everything that a site needs of the others.

    Attributes:
        coefficients: Of round 1.
        variance: Mean squared residual, 0 where a feature does not change, shape (feature,).
    """

    coefficients: Coefficients
    variance: np.ndarray

    def without_covariates(self) -> "Common":
        """Return the same when covariates are not looked at: their effect is part of the spread.

        A participant then counts as one of average covariates, and features spread as they do
        within an average site.
        """
        of = self.coefficients
        explained = np.einsum("if,ij,jf->f", of.slopes, of.spread, of.slopes)
        none = Coefficients(
            of.slopes[:0], of.intercept + of.centre @ of.slopes, of.centre[:0], of.spread[:0, :0]
        )
        return Common(none, np.where(self.variance > 0, self.variance + explained, 0.0))


def coefficients(sums: CovariateSums, names: Sequence[str]) -> Coefficients:
    """Return the common coefficients from round 1 of all sites.

    Args:
        sums: Added up over the sites.
        names: What the covariates are called in messages.

    Raises:
        DataError: the covariates' effects cannot be told from the sites' or from each other's.
    """
    _require_identified(sums.spread, names)
    slopes = np.linalg.solve(sums.spread, sums.products)
    centre = sums.covariates / sums.participants
    # The sites' intercepts are mean(y) - mean(x) slopes: their weighted mean needs totals only.
    intercept = sums.features / sums.participants - centre @ slopes
    return Coefficients(slopes, intercept, centre, sums.spread / sums.participants)


def common(found: Coefficients, residuals: ResidualSums) -> Common:
    """Return what the sites have in common, from round 2 of all sites."""
    variance = residuals.squares / residuals.participants
    level = np.abs(found.intercept + found.centre @ found.slopes)
    return Common(found, np.where(variance > (RESOLUTION * level) ** 2, variance, 0.0))


def _require_identified(spread: np.ndarray, names: Sequence[str]) -> None:
    sd = np.sqrt(np.diag(spread))
    for name, one in zip(names, sd, strict=True):
        if one == 0:
            raise DataError(
                f"harmonise.covariates: {name} does not vary among the training participants of "
                "any one site, so its effect cannot be told from the site's; leave it out"
            )
    if len(names) and np.linalg.eigvalsh(spread / np.outer(sd, sd))[0] < _LEAST_EIGENVALUE:
        raise DataError(
            f"harmonise.covariates: the training participants cannot tell the effects of "
            f"{', '.join(names)} apart; leave one out, or use fewer knots"
        )
