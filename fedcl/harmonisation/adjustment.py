"""Remove the shift and scale of a site from its scans, as ComBat does.

The adjusted features are y* = (y - alpha - x beta - sigma gamma) / sqrt(delta) + alpha + x beta,
with the site's own gamma and delta (Johnson et al. 2007,
https://doi.org/10.1093/biostatistics/kxj037). For given covariates x this is a factor and an offset
per feature. Where delta is not 1 the result depends on x: docs/explanation/harmonisation.md
explains whose covariates are used.
"""

from dataclasses import dataclass

import numpy as np

from fedcl.harmonisation.empirical_bayes import shrink_effects
from fedcl.harmonisation.shared_estimates import RESOLUTION, SharedEstimates
from fedcl.harmonisation.sums import SiteResiduals


@dataclass(frozen=True)
class SiteEffect:
    """Hold the effect of one site on every feature, which does not leave the site.

    Attributes:
        shift: Shift sigma gamma in the unit of each feature, shape (feature,).
        scale: Dimensionless scale sqrt(delta), shape (feature,).
    """

    shift: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Adjustment:
    """Adjust features by y* = factor y + offset, plus (1 - factor) x slopes unless slopes is None.

    Attributes:
        factor: Factor 1 / sqrt(delta) of each feature, shape (feature,).
        offset: Offset in the unit of each feature, shape (feature,).
        slopes: Effects of the participant's own covariates x, shape (covariate, feature); None
            where their covariates are not used.
    """

    factor: np.ndarray
    offset: np.ndarray
    slopes: np.ndarray | None = None

    def __call__(self, y: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        """Return the adjusted features of a scan.

        Args:
            y: Features as measured, shape (feature,).
            covariates: Covariates of the participant at this scan, shape (covariate,).
        """
        adjusted = self.factor * y + self.offset
        if self.slopes is None:
            return adjusted
        slope = covariates.astype(self.slopes.dtype) @ self.slopes
        return adjusted + (1 - self.factor) * slope


def site_effect(residuals: SiteResiduals, shared: SharedEstimates) -> SiteEffect:
    """Return a site's shift and scale of every feature.

    A feature that is constant within every site keeps its scale, and its whole difference between
    sites is the shift: such a feature identifies the site without error. It takes no part in the
    estimation of the priors.
    """
    difference = residuals.mean - shared.coefficients.intercept
    changing = shared.variance > 0
    level = np.abs(shared.coefficients.intercept)
    shift = np.where(np.abs(difference) > RESOLUTION * level, difference, 0.0)
    scale = np.ones_like(shift)
    sd = np.sqrt(shared.variance[changing])
    n = residuals.participants
    own = residuals.squares[changing] / (n - 1) / shared.variance[changing]
    gamma, delta = shrink_effects(difference[changing] / sd, own, participants=n)
    shift[changing], scale[changing] = sd * gamma, np.sqrt(delta)
    return SiteEffect(shift, scale)


def at_site_mean(
    effect: SiteEffect, shared: SharedEstimates, mean_covariates: np.ndarray
) -> Adjustment:
    """Return one adjustment for all participants of a site: that of its average participant."""
    coefficients, factor = shared.coefficients, 1 / effect.scale
    expected = coefficients.intercept + mean_covariates @ coefficients.slopes
    return Adjustment(factor, (1 - factor) * expected - factor * effect.shift)


def at_participant(effect: SiteEffect, shared: SharedEstimates) -> Adjustment:
    """Return the adjustment as published, which uses each participant's own covariates."""
    coefficients, factor = shared.coefficients, 1 / effect.scale
    offset = (1 - factor) * coefficients.intercept - factor * effect.shift
    return Adjustment(factor, offset, coefficients.slopes)


def location_only(effect: SiteEffect) -> Adjustment:
    """Return the adjustment that removes the shift and leaves the scale unchanged."""
    return Adjustment(np.ones_like(effect.shift), -effect.shift)
