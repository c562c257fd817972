"""Compute the sums from which all sites together fit ComBat, in two rounds.

The first round gives the common regression coefficients, the second the variance of the residuals.
Chen et al., "Privacy-preserving harmonization via distributed ComBat", NeuroImage 2022,
https://doi.org/10.1016/j.neuroimage.2021.118822, show that these sums suffice.

Unlike the paper, a site subtracts its own mean from the products first. Least squares with one
indicator per site needs no more (Frisch and Waugh 1933, https://doi.org/10.2307/1907330). Thus no
entry of a sum belongs to one site, the sites need not agree on an order, and large means cause no
loss of precision.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CovariateSums:
    """Hold the sums of round 1, in which a participant has weight 1, however many scans they have.

    Attributes:
        participants: Number of participants, the sum of their scans' weights.
        covariates: Sum of x, shape (covariate,).
        features: Sum of y, shape (feature,).
        spread: Sum of (x - site's mean)(x - site's mean)^T, shape (covariate, covariate).
        products: Sum of (x - site's mean) y, shape (covariate, feature).
    """

    participants: float
    covariates: np.ndarray
    features: np.ndarray
    spread: np.ndarray
    products: np.ndarray

    def __add__(self, other: "CovariateSums") -> "CovariateSums":
        return CovariateSums(
            self.participants + other.participants,
            self.covariates + other.covariates,
            self.features + other.features,
            self.spread + other.spread,
            self.products + other.products,
        )


@dataclass(frozen=True)
class ResidualSums:
    """Hold the sums of round 2.

    Attributes:
        participants: Number of participants, the sum of their scans' weights.
        squares: Sum of squared residuals about the site's own mean, shape (feature,).
    """

    participants: float
    squares: np.ndarray

    def __add__(self, other: "ResidualSums") -> "ResidualSums":
        return ResidualSums(self.participants + other.participants, self.squares + other.squares)


@dataclass(frozen=True)
class SiteResiduals:
    """Hold the residuals y - x slopes of one site, most of which stay at the site.

    Attributes:
        participants: Number of participants, the sum of their scans' weights.
        mean: Mean of the residuals y - x slopes, shape (feature,).
        squares: Sum of squares of the residuals about their mean, shape (feature,).
        covariates: Mean of the covariates x, shape (covariate,).
    """

    participants: float
    mean: np.ndarray
    squares: np.ndarray
    covariates: np.ndarray

    @property
    def said(self) -> ResidualSums:
        """Return the sums of round 2 that leave the site."""
        return ResidualSums(self.participants, self.squares)


def covariate_sums(
    scans: Iterable[np.ndarray], covariates: np.ndarray, shares: np.ndarray
) -> CovariateSums:
    """Return the sums of round 1 of one site, with one scan at a time in memory.

    Args:
        scans: Features y of each scan, shape (feature,).
        covariates: Covariates x of each scan, shape (scan, covariate).
        shares: Weight of each scan, one over the number of the participant's scans; (scan,).
    """
    participants = float(shares.sum())
    mean = shares @ covariates / participants
    weighted = shares[:, None] * (covariates - mean)
    features = products = first = np.zeros(0)
    for number, scan in enumerate(scans):
        y = scan.astype(np.float64)
        if number == 0:
            first, features = y, np.zeros_like(y)
            products = np.zeros((covariates.shape[1], len(y)))
        # Relative to the first scan, a constant feature gives exactly 0.
        difference = y - first
        features += shares[number] * difference
        for column, weight in zip(products, weighted[number], strict=True):
            column += weight * difference
    return CovariateSums(
        participants,
        shares @ covariates,
        features + participants * first,
        weighted.T @ (covariates - mean),
        products,
    )


def site_residuals(
    scans: Iterable[np.ndarray], covariates: np.ndarray, shares: np.ndarray, slopes: np.ndarray
) -> SiteResiduals:
    """Return the residuals of one site after round 1, with one scan at a time in memory.

    Args:
        scans: Features y of each scan, shape (feature,).
        covariates: Covariates x of each scan, shape (scan, covariate).
        shares: Weight of each scan, one over the number of the participant's scans; (scan,).
        slopes: Common coefficients of all sites, shape (covariate, feature).
    """
    weight = 0.0
    mean, squares = np.zeros(slopes.shape[1]), np.zeros(slopes.shape[1])
    for x, share, scan in zip(covariates, shares, scans, strict=True):
        residual = scan - x @ slopes
        weight += share
        difference = residual - mean
        mean += share / weight * difference
        squares += share * difference * (residual - mean)
    return SiteResiduals(weight, mean, squares, shares @ covariates / weight)
