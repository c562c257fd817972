"""What is taken out of a site's scans, and put in its place.

y* = (y - alpha - x beta - sigma gamma) / sqrt(delta) + alpha + x beta, with the site's own gamma
and delta (Johnson et al. 2007, https://doi.org/10.1093/biostatistics/kxj037), is for given
covariates x a factor and an offset per feature. Where delta is not 1 the result depends on x: see
docs/explanation/harmonisation.md for whose x that is.
"""

from dataclasses import dataclass

import numpy as np

from fedcl.harmonisation.common import RESOLUTION, Common
from fedcl.harmonisation.empirical_bayes import shrunken
from fedcl.harmonisation.sums import SiteResiduals


@dataclass(frozen=True)
class SiteEffect:
    """What a site keeps to itself.

    Attributes:
        shift: In the feature's own unit: sigma gamma, shape (feature,).
        scale: Dimensionless: sqrt(delta), shape (feature,).
    """

    shift: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Adjustment:
    """y* = factor y + offset, and where `slopes` is there + (1 - factor) x slopes.

    Attributes:
        factor: Shape (feature,).
        offset: Shape (feature,).
        slopes: Of the participant's own covariates, shape (covariate, feature); None: not asked.
    """

    factor: np.ndarray
    offset: np.ndarray
    slopes: np.ndarray | None = None

    def __call__(self, y: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        """Return a scan's features, adjusted.

        Args:
            y: As measured, shape (feature,).
            covariates: The participant's, shape (covariate,).
        """
        adjusted = self.factor * y + self.offset
        if self.slopes is None:
            return adjusted
        slope = covariates.astype(self.slopes.dtype) @ self.slopes
        return adjusted + (1 - self.factor) * slope


def site_effect(residuals: SiteResiduals, shared: Common) -> SiteEffect:
    """Return a site's shift and scale of every feature.

    A feature that changes at no site keeps its scale; where it differs between sites, which it then
    gives away without error, the whole difference is the shift. Neither is part of a prior.
    """
    away = residuals.mean - shared.coefficients.intercept
    changing = shared.variance > 0
    level = np.abs(shared.coefficients.intercept)
    shift = np.where(np.abs(away) > RESOLUTION * level, away, 0.0)
    scale = np.ones_like(shift)
    sd = np.sqrt(shared.variance[changing])
    n = residuals.participants
    own = residuals.squares[changing] / (n - 1) / shared.variance[changing]
    gamma, delta = shrunken(away[changing] / sd, own, participants=n)
    shift[changing], scale[changing] = sd * gamma, np.sqrt(delta)
    return SiteEffect(shift, scale)


def at_site_mean(effect: SiteEffect, shared: Common, mean_covariates: np.ndarray) -> Adjustment:
    """Return one adjustment for everybody of a site: that of its average participant."""
    of, factor = shared.coefficients, 1 / effect.scale
    stays = of.intercept + mean_covariates @ of.slopes
    return Adjustment(factor, (1 - factor) * stays - factor * effect.shift)


def at_participant(effect: SiteEffect, shared: Common) -> Adjustment:
    """Return the published adjustment, which asks for each participant's covariates."""
    of, factor = shared.coefficients, 1 / effect.scale
    offset = (1 - factor) * of.intercept - factor * effect.shift
    return Adjustment(factor, offset, of.slopes)


def location_only(effect: SiteEffect) -> Adjustment:
    """Return the adjustment that takes out the shift and leaves the scale as it is."""
    return Adjustment(np.ones_like(effect.shift), -effect.shift)
