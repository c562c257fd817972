"""Measure how much of the features' variance the site explains, beyond age and sex.

The measure is a partial R^2 summed over the features: 1 - RSS(age, sex, site) / RSS(age, sex), with
RSS the sum of squared residuals of ordinary least squares. In the adjusted measure, each RSS is
divided by its degrees of freedom, so that sites without an effect give 0 in expectation (Ezekiel,
"Methods of correlation analysis", 1930). Sums over features are invariant to rotations and shifts
of the features.

Age enters as a natural cubic spline with five knots at fixed percentiles (Harrell, "Regression
modeling strategies", 2015, section 2.4, https://doi.org/10.1007/978-3-319-19425-7): from 6 to 90
years brains do not change linearly, and sites recruit at different ages, so that the misfit of a
curve that is too stiff would be counted as an effect of site.
"""

from dataclasses import dataclass

import numpy as np

from fedcl.harmonisation.design import spline_bends

KNOTS = (5.0, 27.5, 50.0, 72.5, 95.0)
"""Percentiles of age at which the spline has its knots."""


@dataclass(frozen=True)
class SiteVariance:
    """Hold the share of the variance left after age and sex that site explains, None if undefined.

    Attributes:
        explained: Share in [0, 1], which grows with the number of sites even without an effect.
        adjusted: Share adjusted for the number of sites, at most 1; 0 on average without an effect.
        participants: Number of participants used.
        sites: Number of sites that they come from.
    """

    explained: float | None
    adjusted: float | None
    participants: int
    sites: int


def site_variance(
    features: np.ndarray, ages: np.ndarray, sexes: np.ndarray, sites: np.ndarray
) -> SiteVariance:
    """Measure the effect of site on features.

    The shares are None where the effect of site cannot be separated from age and sex, where no
    degrees of freedom are left, or where age and sex already explain everything.

    Args:
        features: Features of shape (participants, dim).
        ages: Ages in years, shape (participants,).
        sexes: Sex of each participant; an unknown sex ("") is a level of its own.
        sites: Label of each participant's site.
    """
    if not len(features):
        return SiteVariance(None, None, 0, 0)
    values = features.astype(np.float64)
    values = values - values.mean(axis=0)
    known = np.column_stack([age_columns(ages), indicators(sexes)])
    rank_without, left_without = _residuals(known, values)
    rank_with, left_with = _residuals(np.column_stack([known, indicators(sites)]), values)
    free_without, free_with = len(values) - rank_without, len(values) - rank_with
    total = float((values**2).sum())
    explained = adjusted = None
    # A remainder within the rounding error of the sums is not variance.
    if free_with > 0 and rank_with > rank_without and left_without > 1e-12 * total:
        explained = 1 - left_with / left_without
        adjusted = 1 - (left_with / free_with) / (left_without / free_without)
    return SiteVariance(explained, adjusted, len(values), len(np.unique(sites)))


def age_columns(ages: np.ndarray) -> np.ndarray:
    """Return a constant, the age and the bends of a natural spline, shape (participant, column).

    Its knots are percentiles of the ages, so ages that repeat may give fewer knots.

    Args:
        ages: Ages in years, shape (participant,).
    """
    knots = np.unique(np.percentile(ages, KNOTS))
    columns = [np.ones(len(ages)), ages.astype(np.float64)]
    if len(knots) > 2:
        columns += spline_bends(ages, knots)
    return np.column_stack(columns)


def indicators(labels: np.ndarray) -> np.ndarray:
    """Return one 0/1 column per distinct label, in sorted order."""
    return (labels[:, None] == np.unique(labels)).astype(np.float64)


def _residuals(design: np.ndarray, values: np.ndarray) -> tuple[int, float]:
    """Return the rank of the design and the sum of squared residuals over all features."""
    scaled = design / np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    directions, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    basis = directions[:, sizes > sizes[0] * 1e-10]
    left = values - basis @ (basis.T @ values)
    return basis.shape[1], float((left**2).sum())
