"""Fit the age probe from sums: ridge regression needs counts, means and products only.

Hoerl and Kennard, "Ridge regression", Technometrics 1970,
https://doi.org/10.1080/00401706.1970.10488634. Products are taken about the sums' own mean and
merged by Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American
Statistician 1983, https://doi.org/10.1080/00031305.1983.10483115, so that features with a large
mean lose no precision and sites need no common reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from fedcl.errors import DataError
from fedcl.evaluation.challenge_rules import GRID


@dataclass(frozen=True)
class RidgeSums:
    """Hold sums over participants; the sums of two groups add up to those of both.

    Attributes:
        count: Number of participants in the sums.
        total_x: Sum of features, (dim,), float64.
        total_y: Sum of ages in years.
        xx: Sum of products of features about their mean, (dim, dim).
        xy: Sum of products of features and age about their means, (dim,).
        yy: Sum of squares of age about its mean, in years^2.
    """

    count: int
    total_x: np.ndarray
    total_y: float
    xx: np.ndarray
    xy: np.ndarray
    yy: float

    @staticmethod
    def of(features: np.ndarray, ages: np.ndarray) -> "RidgeSums":
        """Return the sums over some participants.

        Args:
            features: Features of shape (participants, dim).
            ages: True ages in years, shape (participants,).
        """
        x, y = features.astype(np.float64), ages.astype(np.float64)
        count = len(y)
        total_x, total_y = x.sum(axis=0), float(y.sum())
        x = x - total_x / max(count, 1)
        y = y - total_y / max(count, 1)
        return RidgeSums(count, total_x, total_y, x.T @ x, x.T @ y, float(y @ y))

    @property
    def mean_x(self) -> np.ndarray:
        """Return the mean of each feature, or zeros without participants."""
        return self.total_x / max(self.count, 1)

    @property
    def mean_y(self) -> float:
        """Return the mean age in years, or zero without participants."""
        return self.total_y / max(self.count, 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the sums as two arrays by name; of symmetric products the upper triangle only."""
        dim = len(self.xy)
        products = np.empty((dim + 1, dim + 1))
        products[:dim, :dim], products[:dim, dim], products[dim, dim] = self.xx, self.xy, self.yy
        return {
            "totals": np.append(self.total_x, self.total_y),
            "products": products[np.triu_indices(dim + 1)],
        }

    @staticmethod
    def from_arrays(count: int, totals: np.ndarray, products: np.ndarray) -> "RidgeSums":
        """Return the sums from the two arrays that `arrays` makes, of matching lengths."""
        dim = len(totals) - 1
        square = np.zeros((dim + 1, dim + 1))
        square[np.triu_indices(dim + 1)] = products
        xx, xy = square[:dim, :dim], square[:dim, dim]
        xx = xx + np.triu(xx, 1).T
        return RidgeSums(count, totals[:dim], float(totals[dim]), xx, xy, float(square[dim, dim]))

    def __add__(self, other: "RidgeSums") -> "RidgeSums":
        count = self.count + other.count
        # The products are about each group's own mean; the difference of the means adds this part.
        weight = self.count * other.count / max(count, 1)
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        return RidgeSums(
            count,
            self.total_x + other.total_x,
            self.total_y + other.total_y,
            self.xx + other.xx + weight * np.outer(dx, dx),
            self.xy + other.xy + weight * dx * dy,
            self.yy + other.yy + weight * dy * dy,
        )


@dataclass(frozen=True)
class AgeProbe:
    """Predict age from features by a linear model.

    Attributes:
        coefficients: Slopes in years per unit of each feature, (dim,).
        intercept: Predicted age in years where all features are zero.
        alpha: Ridge penalty that was chosen from GRID.
    """

    coefficients: np.ndarray
    intercept: float
    alpha: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return predicted ages in years, float64, from features of shape (participants, dim)."""
        return features.astype(np.float64) @ self.coefficients + self.intercept


def fit_ridge(folds: Sequence[RidgeSums]) -> AgeProbe:
    """Return a ridge regression with intercept, alpha chosen by mean R^2 over folds, fitted on all.

    Unlike the challenge's probe, folds are groups of sites, since folds of participants would need
    a sum per fold from every site. A fold whose R^2 is undefined (fewer than two ages) is not
    scored.

    Args:
        folds: Sums of each fold; all participants of a site are in the same fold.

    Raises:
        DataError: fewer than two folds have participants, or none can be scored.
    """
    filled = [fold for fold in folds if fold.count]
    scored = [number for number, fold in enumerate(filled) if fold.count > 1 and fold.yy > 0]
    if len(filled) < 2 or not scored:
        raise DataError(
            f"the age probe from sums chooses its penalty across sites, and {len(filled)} groups "
            "of sites have training participants of different ages; at least 2 are needed"
        )
    scores = np.zeros(len(GRID))
    for number in scored:
        rest = reduce(add, filled[:number] + filled[number + 1 :])
        scores += [r_squared(_fitted(rest, alpha), filled[number]) for alpha in GRID]
    return _fitted(reduce(add, filled), GRID[int(np.argmax(scores))])


def r_squared(probe: AgeProbe, sums: RidgeSums) -> float:
    """Return the share R^2 of the variance of age that a probe explains, at most 1.

    Args:
        probe: Age probe that was fitted on other participants.
        sums: Sums over the participants that the probe is scored on.
    """
    slope = probe.coefficients
    spread = sums.yy - 2 * slope @ sums.xy + slope @ sums.xx @ slope
    offset = sums.mean_y - slope @ sums.mean_x - probe.intercept
    return float(1 - (spread + sums.count * offset**2) / sums.yy)


def _fitted(sums: RidgeSums, alpha: float) -> AgeProbe:
    penalised = sums.xx + alpha * np.eye(len(sums.xy))
    slope = np.linalg.solve(penalised, sums.xy)
    return AgeProbe(slope, float(sums.mean_y - slope @ sums.mean_x), alpha)
