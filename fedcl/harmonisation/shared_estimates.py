"""Estimate what all sites share: the effects of the covariates, the grand mean and the variance.

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
"""Least eigenvalue of the covariates' correlation within sites that identifies their effects."""
RESOLUTION = 1e-7
"""Relative resolution of float32; a feature with a smaller relative SD counts as constant."""


@dataclass(frozen=True)
class Coefficients:
    """Hold the regression coefficients that follow from round 1.

    Attributes:
        slopes: Change of each feature per unit of each covariate, shape (covariate, feature).
        intercept: Grand mean: the sites' intercepts, weighted by their participants; (feature,).
        centre: Mean covariates of all participants, shape (covariate,).
        spread: Covariance of the covariates within sites, shape (covariate, covariate).
    """

    slopes: np.ndarray
    intercept: np.ndarray
    centre: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class SharedEstimates:
    """Hold all that a site needs to know of the other sites, complete after round 2.

    Attributes:
        coefficients: Common regression coefficients from round 1.
        variance: Mean squared residual, 0 where a feature is constant, shape (feature,).
    """

    coefficients: Coefficients
    variance: np.ndarray

    def without_covariates(self) -> "SharedEstimates":
        """Return the estimates for a model without covariates, whose effect joins the variance.

        Every participant then counts as one with average covariates, and the variance of a feature
        is that within an average site.
        """
        full = self.coefficients
        explained = np.einsum("if,ij,jf->f", full.slopes, full.spread, full.slopes)
        reduced = Coefficients(
            full.slopes[:0],
            full.intercept + full.centre @ full.slopes,
            full.centre[:0],
            full.spread[:0, :0],
        )
        return SharedEstimates(reduced, np.where(self.variance > 0, self.variance + explained, 0.0))


def coefficients(sums: CovariateSums, names: Sequence[str]) -> Coefficients:
    """Return the common coefficients from round 1 of all sites.

    Args:
        sums: Sums of round 1 added up over the sites.
        names: Names of the covariates in messages, in the order of the design's columns.

    Raises:
        DataError: the covariates' effects cannot be separated from the sites' or from each other's.
    """
    _require_identified(sums.spread, names)
    slopes = np.linalg.solve(sums.spread, sums.products)
    centre = sums.covariates / sums.participants
    # The sites' intercepts are mean(y) - mean(x) slopes: their weighted mean needs totals only.
    intercept = sums.features / sums.participants - centre @ slopes
    return Coefficients(slopes, intercept, centre, sums.spread / sums.participants)


def estimate_shared(fitted: Coefficients, residuals: ResidualSums) -> SharedEstimates:
    """Return what all sites share, from the coefficients and the sums of round 2 of all sites."""
    variance = residuals.squares / residuals.participants
    level = np.abs(fitted.intercept + fitted.centre @ fitted.slopes)
    return SharedEstimates(fitted, np.where(variance > (RESOLUTION * level) ** 2, variance, 0.0))


def _require_identified(spread: np.ndarray, names: Sequence[str]) -> None:
    sd = np.sqrt(np.diag(spread))
    for name, own_sd in zip(names, sd, strict=True):
        if own_sd == 0:
            raise DataError(
                f"harmonise.covariates: {name} does not vary among the training participants of "
                "any one site, so its effect cannot be told from the site's; leave it out"
            )
    if len(names) and np.linalg.eigvalsh(spread / np.outer(sd, sd))[0] < _LEAST_EIGENVALUE:
        raise DataError(
            f"harmonise.covariates: the training participants cannot tell the effects of "
            f"{', '.join(names)} apart; leave one out, or use fewer knots"
        )
