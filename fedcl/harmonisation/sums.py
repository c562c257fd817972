"""What a site says so that all sites together can fit ComBat: two rounds of sums that add.

The first holds what common coefficients are made of, the second how far the participants lie from
them. That these two suffice is shown in Chen et al., "Privacy-preserving harmonization via
distributed ComBat", NeuroImage 2022, https://doi.org/10.1016/j.neuroimage.2021.118822

Unlike the paper, a site takes its own mean out of the products first. Least squares with one
indicator per site needs no more (Frisch and Waugh 1933, https://doi.org/10.2307/1907330), and then
no entry of a sum is one site's, nobody has to agree on the order of the sites, and nothing is lost
to rounding where a mean is large.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CovariateSums:
    """Round 1. A participant weighs one, however many scans.

    Attributes:
        participants: How many.
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
    """Round 2.

    Attributes:
        participants: How many.
        squares: Sum of squared residuals about the site's own mean, shape (feature,).
    """

    participants: float
    squares: np.ndarray

    def __add__(self, other: "ResidualSums") -> "ResidualSums":
        return ResidualSums(self.participants + other.participants, self.squares + other.squares)


@dataclass(frozen=True)
class SiteResiduals:
    """What a site keeps: its participants after the common effect of the covariates.

    Attributes:
        participants: How many.
        mean: Of y - x slopes, shape (feature,).
        squares: Sum of squares about it, shape (feature,).
        covariates: Mean of x, shape (covariate,).
    """

    participants: float
    mean: np.ndarray
    squares: np.ndarray
    covariates: np.ndarray

    @property
    def said(self) -> ResidualSums:
        """What the site lets out of it."""
        return ResidualSums(self.participants, self.squares)


def covariate_sums(
    scans: Iterable[np.ndarray], covariates: np.ndarray, shares: np.ndarray
) -> CovariateSums:
    """Return round 1 of one site; a scan at a time is in memory.

    Args:
        scans: The features of each scan.
        covariates: Of each scan, shape (scan, covariate).
        shares: One over the number of the participant's scans, shape (scan,).
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
        # Against the first scan: a feature that never changes gives exactly 0.
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
    """Return round 2 of one site, and what it keeps; a scan at a time is in memory.

    Args:
        scans: As of round 1.
        covariates: As of round 1.
        shares: As of round 1.
        slopes: The common coefficients, shape (covariate, feature).
    """
    weight = 0.0
    mean, squares = np.zeros(slopes.shape[1]), np.zeros(slopes.shape[1])
    for x, share, scan in zip(covariates, shares, scans, strict=True):
        residual = scan - x @ slopes
        weight += share
        away = residual - mean
        mean += share / weight * away
        squares += share * away * (residual - mean)
    return SiteResiduals(weight, mean, squares, shares @ covariates / weight)
