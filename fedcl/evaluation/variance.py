"""How much of the features' variance the site explains, beyond age and sex.

A partial R^2 summed over the features: 1 - RSS(age, sex, site) / RSS(age, sex), with RSS the sum of
squared residuals of ordinary least squares. Adjusted, each RSS is divided by its degrees of
freedom, so that sites without an effect give 0 in expectation (Ezekiel, "Methods of correlation
analysis", 1930). Sums over features do not change when features are rotated or shifted.

Age enters as a natural cubic spline with five knots at fixed percentiles (Harrell, "Regression
modeling strategies", 2015, section 2.4, https://doi.org/10.1007/978-3-319-19425-7): over 6 to 90
years brains do not change linearly, and sites recruit at different ages, so that a curve which is
too stiff would be counted as an effect of site.
"""

from dataclasses import dataclass

import numpy as np

from fedcl.harmonisation.design import spline_bends

KNOTS = (5.0, 27.5, 50.0, 72.5, 95.0)
"""Percentiles of the ages."""


@dataclass(frozen=True)
class SiteVariance:
    """Share of the variance left after age and sex that site explains; None where undefined.

    Attributes:
        explained: In [0, 1]; grows with the number of sites even where they have no effect.
        adjusted: At most 1; about 0, and as often below, where they have none.
        participants: Who was counted.
        sites: How many they come from.
    """

    explained: float | None
    adjusted: float | None
    participants: int
    sites: int


def site_variance(
    features: np.ndarray, ages: np.ndarray, sexes: np.ndarray, sites: np.ndarray
) -> SiteVariance:
    """Measure the effect of site on features.

    None where sites cannot be told from age and sex, nobody is left to estimate what remains, or
    age and sex already explain everything.

    Args:
        features: (participants, dim).
        ages: Years.
        sexes: Labels; an unknown sex ("") is a level of its own.
        sites: Labels.
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
    # Below the rounding of the sums, what age and sex leave is no variance.
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
    """Return one 0/1 column per label."""
    return (labels[:, None] == np.unique(labels)).astype(np.float64)


def _residuals(design: np.ndarray, values: np.ndarray) -> tuple[int, float]:
    """Return the design's rank and the sum of squared residuals over all features."""
    scaled = design / np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    directions, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    basis = directions[:, sizes > sizes[0] * 1e-10]
    left = values - basis @ (basis.T @ values)
    return basis.shape[1], float((left**2).sum())
