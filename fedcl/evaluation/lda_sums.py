"""Fit the site probe from sums: linear discriminant analysis on class means and one covariance.

Hastie, Tibshirani and Friedman, "The elements of statistical learning", 2nd edition, section 4.3,
https://hastie.su.domains/ElemStatLearn/. A class is a site, so its mean follows from the site's own
sums. The covariance is shrunk by a fixed share, since choosing the share takes more than sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedcl.errors import DataError
from fedcl.evaluation.ridge_sums import RidgeSums

SHRINKAGE = 0.1
"""Share of the covariance that is replaced by a multiple of the identity, in [0, 1]."""

Priors = Literal["uniform", "empirical"]


@dataclass(frozen=True)
class ClassSums:
    """Hold sums over participants by label; the sums of two groups add up to those of both.

    Attributes:
        counts: Number of participants of each label.
        totals: Sum of the features of each label, (dim,), float64; the same labels.
        xx: Sum of products of features about the mean of their label, (dim, dim).
    """

    counts: dict[str, int]
    totals: dict[str, np.ndarray]
    xx: np.ndarray

    @staticmethod
    def of(features: np.ndarray, labels: np.ndarray) -> "ClassSums":
        """Return the sums by label of features of shape (participants, dim)."""
        dim = features.shape[1]
        sums = ClassSums({}, {}, np.zeros((dim, dim)))
        for label in np.unique(labels):
            own = features[labels == label]
            sums = sums + ClassSums.of_site(str(label), RidgeSums.of(own, np.zeros(len(own))))
        return sums

    @staticmethod
    def of_site(site: str, sums: RidgeSums) -> "ClassSums":
        """Return the class sums of one site, whose label is the class of all its participants."""
        if not sums.count:
            return ClassSums({}, {}, sums.xx)
        return ClassSums({site: sums.count}, {site: sums.total_x}, sums.xx)

    def __add__(self, other: "ClassSums") -> "ClassSums":
        counts, totals, xx = dict(self.counts), dict(self.totals), self.xx + other.xx
        for label, count in other.counts.items():
            if label not in counts:
                counts[label], totals[label] = count, other.totals[label]
                continue
            own = counts[label]
            difference = other.totals[label] / count - totals[label] / own
            xx = xx + own * count / (own + count) * np.outer(difference, difference)
            counts[label] = own + count
            totals[label] = totals[label] + other.totals[label]
        return ClassSums(counts, totals, xx)


@dataclass(frozen=True)
class SiteProbe:
    """Predict the site from features by a linear model.

    Attributes:
        labels: Labels of the sites in sorted order, at least two.
        coefficients: Weights of the features for each label, shape (labels, dim).
        intercepts: Constant of each label's score, shape (labels,).
    """

    labels: tuple[str, ...]
    coefficients: np.ndarray
    intercepts: np.ndarray

    def decide(self, features: np.ndarray) -> np.ndarray:
        """Return each label's log posterior up to a constant, shape (participants, labels)."""
        return features.astype(np.float64) @ self.coefficients.T + self.intercepts

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the most likely label of each participant."""
        return np.asarray(self.labels)[self.decide(features).argmax(axis=1)]


def fit_lda(
    sums: ClassSums, *, shrinkage: float = SHRINKAGE, priors: Priors = "uniform"
) -> SiteProbe:
    """Return the linear discriminant of the labels.

    Args:
        sums: Sums over training participants by label.
        shrinkage: Share of the covariance replaced by a multiple of the identity, in [0, 1].
        priors: Prior probabilities of the labels: uniform maximises balanced accuracy, empirical
            plain accuracy.

    Raises:
        DataError: there are fewer than two labels.
    """
    labels = tuple(sorted(sums.counts))
    if len(labels) < 2:
        raise DataError(f"the site probe from sums tells sites apart, and {len(labels)} has sums")
    counts = np.array([sums.counts[label] for label in labels], dtype=np.float64)
    means = np.stack([sums.totals[label] for label in labels]) / counts[:, None]
    # Centred at the grand mean, intercepts are of the order of the differences between sites.
    centre = np.average(means, axis=0, weights=counts)
    covariance = _shrunk(sums.xx / counts.sum(), shrinkage)
    # Least squares, since a collapsed representation leaves the covariance singular.
    coefficients = np.linalg.lstsq(covariance, (means - centre).T)[0].T
    intercepts = -0.5 * np.einsum("kd,kd->k", means - centre, coefficients) - coefficients @ centre
    if priors == "empirical":
        intercepts = intercepts + np.log(counts / counts.sum())
    return SiteProbe(labels, coefficients, intercepts)


def class_sums(sites: Mapping[str, RidgeSums]) -> ClassSums:
    """Return the class sums of all sites from each site's own sums.

    Raises:
        DataError: there is no site.
    """
    parts = [ClassSums.of_site(site, sums) for site, sums in sites.items()]
    if not parts:
        raise DataError("the site probe from sums tells sites apart, and none has sums")
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _shrunk(covariance: np.ndarray, shrinkage: float) -> np.ndarray:
    dim = len(covariance)
    shared = np.trace(covariance) / dim
    return (1 - shrinkage) * covariance + shrinkage * shared * np.eye(dim)
